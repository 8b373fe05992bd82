"""Scan a folder for images, and report every file that is left out."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fromnoise.data import captions
from fromnoise.data.decode import HEIF_WAY, NeedsHEIF, endings, problem
from fromnoise.system.disk import files

Broken = list[tuple[Path, Exception]]
"""Files that cannot be read, each with the error."""

# Files that operating systems and programs create. Names that begin with a dot are skipped as well.
_SYSTEM = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "thumbs.db",
           "desktop.ini"}  # fmt: skip
_BESIDE = {".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".md", ".html", ".log", ".caption"}
"""Endings of captions, labels and notes, which are not reported as left out."""
_WAYS = {
    HEIF_WAY: (".heic", ".heif", ".hif"),
    "raw photographs, to be developed into JPEG or TIFF": (
        ".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2", ".srw"),
    "videos, whose frames are to be taken out first": (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm", ".wmv"),
    "drawings, to be exported as PNG": (".ai", ".eps", ".pdf", ".svg"),
    "files of editors, to be exported as PNG": (".kra", ".psd", ".xcf"),
    "JPEG XL, to be converted to PNG": (".jxl",),
    "archives, to be unpacked": (".7z", ".gz", ".rar", ".tar", ".tgz", ".zip"),
}  # fmt: skip
_OF = {ending: way for way, all_of in _WAYS.items() for ending in all_of}
_OTHERS = "no images"


@dataclass
class Found:
    """The files in a folder and its subfolders.

    Attributes:
        paths: files that are images by their ending or their content, sorted.
        broken: entries that have an image's name but are not files, and folders that cannot be listed.
        beside: files that may hold captions of the images.
        left_out: {what the files are and how to convert them: {ending: count}}.
    """

    paths: list[Path] = field(default_factory=list)
    broken: Broken = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)
    left_out: dict[str, Counter] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """A list with one line about the files that were left out; empty if there are none."""
        parts = []
        for way, counts in self.left_out.items():
            named = ", ".join(f"{n:,} {files.one_line(ending)}" for ending, n in counts.most_common(5))
            parts.append(f"{named} ({way})")
        return [f"left out {'; '.join(parts)}"] if parts else []

    def leave_out(self, path: Path, way: str) -> None:
        self.left_out.setdefault(way, Counter())[path.suffix.lower() or "without an ending"] += 1


def scan(root: Path) -> Found:
    """Scan a folder recursively: hidden and system files and folders are skipped, links are followed once."""
    found, seen = Found(), set()  # links may lead back up

    def unlisted(error: OSError) -> None:
        found.broken.append((Path(error.filename), error))

    for folder, below, names in os.walk(root, onerror=unlisted, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        if not names and not below and Path(folder).suffix.lower() in endings():
            found.broken.append((Path(folder), files.Unreadable(f"{folder}: is an empty folder, not a file")))
        below[:] = [name for name in below if not _passed_over(name)]
        for name in names:
            if not _passed_over(name):
                _sort(Path(folder, name), found)
    found.paths.sort()
    found.broken.sort(key=lambda entry: entry[0])
    return found


def _passed_over(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM


def _sort(path: Path, found: Found) -> None:
    ending = path.suffix.lower()
    if ending in endings():
        found.paths.append(path)
    elif ending in _BESIDE:
        if ending == ".txt" or path.name == captions.TABLE:
            found.beside.append(path)
    elif ending in _OF:
        found.leave_out(path, _OF[ending])
    else:  # no ending, or an unknown one: the content decides
        wrong = problem(path)
        if wrong is None:
            found.paths.append(path)
        else:
            found.leave_out(path, HEIF_WAY if isinstance(wrong, NeedsHEIF) else _OTHERS)
