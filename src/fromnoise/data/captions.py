"""What images show, in people's words: NAME.txt beside an image, or metadata.jsonl in its folder."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from fromnoise.disk import files

TABLE = "metadata.jsonl"
_LARGEST = 2**16
_LARGEST_TABLE = 2**30
_NAMES, _WORDS = ("file_name", "image", "path"), ("text", "caption", "prompt")


def captions_of(paths: Sequence[Path], beside: Iterable[Path]) -> tuple[list[str], list[str]]:
    """A caption for each image, "" where there is none, and what could not be read; ([], []) where nobody said a word.

    A line of metadata.jsonl is {"file_name": ..., "text": ...}, the file's path from the table's folder.

    Args:
        paths: of the images.
        beside: the .txt and metadata.jsonl files that lie beside them.
    """
    said, notes = {}, []
    stems = {path.with_suffix("") for path in paths}
    for path in beside:
        try:
            if path.name == TABLE:
                said |= _table(path)
            elif path.with_suffix("") in stems:
                said[path.with_suffix("")] = " ".join(files.read_text(path, _LARGEST).split())
        except (files.Unreadable, ValueError) as error:
            notes.append(files.one_line(f"captions: {error}"))
    found = [said.get(path, said.get(path.with_suffix(""), "")) for path in paths]
    if not any(found):
        return [], notes
    missing = found.count("")
    if missing:
        notes.append(f"{missing:,} of {len(paths):,} images have no caption")
    return found, notes


def _table(path: Path) -> dict[Path, str]:
    """{image: caption}.

    Raises:
        ValueError: a line is no object with a file's name and a text.
    """
    said = {}
    for number, line in enumerate(files.read_text(path, _LARGEST_TABLE).splitlines(), 1):
        if not line.strip():
            continue
        row = files.parse_json(line, f"{path}, line {number}")
        row = row if isinstance(row, dict) else {}
        name, words = (next((str(row[key]) for key in keys if isinstance(row.get(key), str)), "")
                       for keys in (_NAMES, _WORDS))  # fmt: skip
        if not name or not words:
            raise ValueError(f"{path}, line {number}: is no object with file_name and text")
        said[path.parent / name] = " ".join(words.split())
    return said
