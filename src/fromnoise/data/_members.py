"""The files in an archive, and one of them alone: nothing is unpacked, and nothing else is read."""

import io
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from fromnoise.data.decode import endings, insist_on_size
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

PLAIN, STORED, DEFLATED = range(3)
"""In a .tar; in a .zip as it is; in a .zip, deflated."""

_COMPRESSED = {rb"\x1f\x8b": "gunzip", rb"BZh[1-9](1AY|\x17rE)": "bunzip2", rb"\xfd7zXZ": "unxz",
               rb"\x28\xb5\x2f\xfd": "unzstd"}  # fmt: skip
_ZIP = re.compile(rb"PK(\x03\x04|\x05\x06|\x07\x08)")  # the first file of a .tar may be called PK, too
_LARGEST_NAME = 2**20
_MOST_DIGITS = 300
_LARGEST = 2**62
"""Bytes, and a place: what is more is nonsense, and no int64 either."""
_LOCAL_HEADER = 30


class Member(NamedTuple):
    """A regular file in an archive.

    Attributes:
        name: its path in the archive.
        offset: of its content in the archive; of its local header in a .zip, which the content follows.
        stored: bytes there.
        length: bytes of the content.
        kind: PLAIN, STORED or DEFLATED.
    """

    name: str
    offset: int
    stored: int
    length: int
    kind: int


def members(path: Path, broken: list[str]) -> Iterator[Member]:
    """Of a .tar or .zip, in order; a line is added to `broken` for what cannot be read.

    Raises:
        FromNoiseError: it is no archive, or is compressed as a whole.
    """
    with files.opened(path) as file:
        head = file.read(6)
        file.seek(0)
        for start, program in _COMPRESSED.items():
            if re.match(start, head):
                raise FromNoiseError(f"{path}: compressed as a whole, so that no image in it can be read by itself: "
                                     f"{program} it first")  # fmt: skip
        found = _of_zip(file, path, broken) if _ZIP.match(head) else _of_tar(file, path, broken)
        try:
            for member in found:
                if 0 <= min(member[1:4]) <= max(member[1:4]) < _LARGEST:
                    yield member
                else:
                    broken.append(files.one_line(f"{path}: {member.name} (damaged: of no possible length or place)"))
        except FromNoiseError:
            raise
        except Exception as error:  # tarfile, zipfile and the disk raise a dozen kinds
            broken.append(files.one_line(f"{path} ({files.one_line(error)}); what comes after in it is left out"))


class _Careful(tarfile.TarInfo):
    """A header that asks for no more memory, and no more time, than a name can need."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:  # pyrefly: ignore[bad-override]
        found = super().frombuf(buf, encoding, errors)
        if found.type in (b"x", b"g", b"L", b"K", b"X") and found.size > _LARGEST_NAME:
            raise tarfile.ReadError(f"a name of {found.size:,} bytes")
        if found.size < 0:  # back to a header that was read before, without end
            raise tarfile.ReadError("damaged: a length below 0")
        return found

    def _proc_pax(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """Checked first: Python before 3.12.6 needs minutes for a row of digits, and any memory for records that lie
        in one another."""
        file = archive.fileobj
        assert file is not None
        start = file.tell()
        _insist_on_records(file.read(self.size))
        file.seek(start)
        return super()._proc_pax(archive)  # pyrefly: ignore[missing-attribute]


def _insist_on_records(header: bytes) -> None:
    """That a pax header is "LENGTH KEY=VALUE\\n", one after the other."""
    place = 0
    while place < len(header) and header[place]:
        length = re.compile(rb"\d{1,9} ").match(header, place)
        end = place + int(length[0]) if length else 0
        if not place < end <= len(header) or header[end - 1] != ord("\n") or header.find(b"=", place, end) < 0:
            raise tarfile.ReadError("damaged: a header that is no row of records")
        place = end
    if re.search(rb"\d{%d}" % _MOST_DIGITS, header):
        raise tarfile.ReadError(f"damaged: a header with a number of {_MOST_DIGITS} digits")


def _of_tar(file: BinaryIO, path: Path, broken: list[str]) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r:", tarinfo=_Careful) as archive:
        while (info := archive.next()) is not None:
            if info.size < 0:  # by a pax header, as above
                raise tarfile.ReadError("damaged: a length below 0")
            archive.members.clear()  # pyrefly: ignore[missing-attribute]  # which keeps every one
            name = info.name.removeprefix("./")
            if info.isreg() and not info.issparse():
                yield Member(name, info.offset_data, info.size, info.size, PLAIN)
            elif not info.isdir() and PurePosixPath(name).suffix.lower() in endings():
                broken.append(files.one_line(f"{path}: {name} ({_kind(info)})"))
        file.seek(archive.offset)  # tarfile stops at a damaged header as at the end
        block = file.read(tarfile.BLOCKSIZE)
        if block.strip(b"\0") or not block:
            what = "damaged" if block else "ends without its end mark: cut off?"
            broken.append(f"{path} ({what} at byte {archive.offset:,}); nothing is read after that")


def _kind(info: tarfile.TarInfo) -> str:
    """Of what has an image's name and is not read."""
    if info.issym() or info.islnk():
        return "a link: pack with tar --dereference --hard-dereference"
    return "a file with holes: pack without --sparse" if info.issparse() else "no file"


def _of_zip(file: BinaryIO, path: Path, broken: list[str]) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            kind = {zipfile.ZIP_STORED: STORED, zipfile.ZIP_DEFLATED: DEFLATED}.get(info.compress_type)
            if info.is_dir():
                continue
            if info.flag_bits & 1 or kind is None:
                what = "encrypted" if info.flag_bits & 1 else "packed in a way that is not read: use store or deflate"
                broken.append(files.one_line(f"{path}: {info.filename} ({what})"))
                continue
            yield Member(info.filename, info.header_offset, info.compress_size, info.file_size, kind)


@contextmanager
def opened(path: Path, member: Member) -> Iterator[BinaryIO]:
    """One member's content, of which only as much is read as is asked for.

    Raises:
        Unreadable: the archive is not there, or the member is too large for an image.
        ValueError: it is not what the archive's table says.
    """
    insist_on_size(max(member.stored, member.length), f"{path}: {member.name}")
    with files.opened(path) as file:
        start = member.offset
        if member.kind != PLAIN:
            header = os.pread(file.fileno(), _LOCAL_HEADER, start)
            if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
                raise ValueError("damaged: no file begins there")
            start += _LOCAL_HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        window = io.BufferedReader(Window(file.fileno(), start, member.stored), 2**16)
        if member.kind != DEFLATED:
            yield window
            return
        unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(window.read(), member.length + 1)
        if len(unpacked) != member.length:
            raise ValueError("damaged: it unpacks to another length than is said")
        yield io.BytesIO(unpacked)


class Window(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, descriptor: int, start: int, length: int):
        self.descriptor, self.start, self.length, self.at = descriptor, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.length}[whence]
        self.at = max(0, base + offset)
        return self.at

    def readinto(self, buffer: memoryview) -> int:  # pyrefly: ignore[bad-override]
        count = max(0, min(len(buffer), self.length - self.at))
        content = os.pread(self.descriptor, count, self.start + self.at)
        buffer[: len(content)] = content
        self.at += len(content)
        return len(content)
