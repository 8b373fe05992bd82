"""List the files in an archive, and read a single one of them without unpacking the archive."""

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
"""In a .tar; in a .zip, uncompressed; in a .zip, deflated."""

_COMPRESSED = {rb"\x1f\x8b": "gunzip", rb"BZh[1-9](1AY|\x17rE)": "bunzip2", rb"\xfd7zXZ": "unxz",
               rb"\x28\xb5\x2f\xfd": "unzstd"}  # fmt: skip
_ZIP = re.compile(rb"PK(\x03\x04|\x05\x06|\x07\x08)")  # the name of a .tar's first file may begin with PK
_LARGEST_NAME = 2**20
_MOST_DIGITS = 300
_LARGEST = 2**62
"""Limit on lengths and offsets: larger ones mean a damaged archive, and do not fit into int64."""
_LOCAL_HEADER = 30


class Member(NamedTuple):
    """A regular file in an archive.

    Attributes:
        name: path in the archive.
        offset: where the content begins; in a .zip, where the local header begins, which the content follows.
        stored: bytes in the archive.
        length: bytes of the content.
        kind: PLAIN, STORED or DEFLATED.
    """

    name: str
    offset: int
    stored: int
    length: int
    kind: int


def members(path: Path, broken: list[str]) -> Iterator[Member]:
    """The files of a .tar or .zip, in order; `broken` gets a line for each one that cannot be read.

    Raises:
        FromNoiseError: the file is not an archive, or is compressed as a whole.
    """
    with files.opened(path) as file:
        head = file.read(6)
        file.seek(0)
        for start, program in _COMPRESSED.items():
            if re.match(start, head):
                raise FromNoiseError(f"{path}: compressed as a whole, so its images cannot be read one by one: "
                                     f"{program} it first")  # fmt: skip
        found = _of_zip(file, path, broken) if _ZIP.match(head) else _of_tar(file, path, broken)
        try:
            for member in found:
                if 0 <= min(member[1:4]) <= max(member[1:4]) < _LARGEST:
                    yield member
                else:
                    broken.append(files.one_line(f"{path}: {member.name} (damaged: impossible length or offset)"))
        except FromNoiseError:
            raise
        except Exception as error:  # tarfile, zipfile and the disk raise a dozen kinds
            broken.append(files.one_line(f"{path} ({files.one_line(error)}); the rest of it is skipped"))


class _Careful(tarfile.TarInfo):
    """A .tar header that refuses to spend more memory or time than a name can need."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:  # pyrefly: ignore[bad-override]
        found = super().frombuf(buf, encoding, errors)
        if found.type in (b"x", b"g", b"L", b"K", b"X") and found.size > _LARGEST_NAME:
            raise tarfile.ReadError(f"a name of {found.size:,} bytes")
        if found.size < 0:  # would lead back to an earlier header: an endless loop
            raise tarfile.ReadError("damaged: a length below 0")
        return found

    def _proc_pax(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """Check the records first.

        Before version 3.12.6, Python needs minutes for a long row of digits, and unlimited memory for nested records.
        """
        file = archive.fileobj
        assert file is not None
        start = file.tell()
        _insist_on_records(file.read(self.size))
        file.seek(start)
        return super()._proc_pax(archive)  # pyrefly: ignore[missing-attribute]


def _insist_on_records(header: bytes) -> None:
    """Check that a pax header is a sequence of records "LENGTH KEY=VALUE\\n"."""
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
            if info.size < 0:  # from a pax header; see `_Careful`
                raise tarfile.ReadError("damaged: a length below 0")
            archive.members.clear()  # pyrefly: ignore[missing-attribute]  # it would grow without end
            name = info.name.removeprefix("./")
            if info.isreg() and not info.issparse():
                yield Member(name, info.offset_data, info.size, info.size, PLAIN)
            elif not info.isdir() and PurePosixPath(name).suffix.lower() in endings():
                broken.append(files.one_line(f"{path}: {name} ({_kind(info)})"))
        file.seek(archive.offset)  # tarfile treats a damaged header like the end of the archive
        block = file.read(tarfile.BLOCKSIZE)
        if block.strip(b"\0") or not block:
            what = "damaged" if block else "ends without its end mark: cut off?"
            broken.append(f"{path} ({what} at byte {archive.offset:,}); nothing is read after that")


def _kind(info: tarfile.TarInfo) -> str:
    """Why a member with an image's name is not read."""
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
    """The content of one member as a file; only the requested parts are read.

    Raises:
        Unreadable: the archive does not exist, or the member is too large for an image.
        ValueError: the member does not match the archive's table.
    """
    insist_on_size(max(member.stored, member.length), f"{path}: {member.name}")
    with files.opened(path) as file:
        start = member.offset
        if member.kind != PLAIN:
            header = _read_at(file.fileno(), _LOCAL_HEADER, start)
            if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
                raise ValueError("damaged: no file begins there")
            start += _LOCAL_HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        window = io.BufferedReader(Window(file.fileno(), start, member.stored), 2**16)
        if member.kind != DEFLATED:
            yield window
            return
        unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(window.read(), member.length + 1)
        if len(unpacked) != member.length:
            raise ValueError("damaged: its unpacked length is not the one in the archive's table")
        yield io.BytesIO(unpacked)


class Window(io.RawIOBase):
    """A read-only file that shows a part of another one."""

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
        content = _read_at(self.descriptor, count, self.start + self.at)
        buffer[: len(content)] = content
        self.at += len(content)
        return len(content)


def _read_at(descriptor: int, count: int, offset: int) -> bytes:
    """`os.pread`; on Windows, which has none, a seek and a read."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, count)
