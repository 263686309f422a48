"""Files that a channel gives us, and how they are packed: never more is held than a limit says.

What is packed small can be large without end, so the limit is for what comes out, too.
"""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import aiohttp

from gateway.errors import ChannelUnavailable

MOST_ANSWERED: Final = 1 << 20  # an answer to a call
MOST_DOWNLOADED: Final = 16 << 20  # a file as it is packed
DOWNLOAD_DEADLINE_S: Final = 60.0
MOST_UNPACKED: Final = 64 << 20  # all of it, unpacked: some 200,000 lines

_MOST_FILES: Final = 16
_EITHER_HEADER: Final = 32 + zlib.MAX_WBITS  # gzip's or zlib's
# What `zipfile` was seen to raise over bytes that somebody made up.
_NO_ZIP: Final = (
    BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


@asynccontextmanager
async def downloading() -> AsyncIterator[None]:
    """Fetch a file that an answer named, within the deadline; else raise ChannelUnavailable."""
    try:
        async with asyncio.timeout(DOWNLOAD_DEADLINE_S):
            yield
    except ValueError as error:
        raise ChannelUnavailable("the answer names a file by what is no URL") from error
    except TimeoutError as error:
        raise ChannelUnavailable(f"no file within {DOWNLOAD_DEADLINE_S:g} s") from error
    except aiohttp.ClientError as error:
        raise ChannelUnavailable(f"no file: {type(error).__name__}") from error


async def read_within(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """Return a body of `most` bytes or fewer. Raises ChannelUnavailable for a longer one."""
    body = bytearray()
    async for part in answer.content.iter_any():
        body += part
        if len(body) > most:
            raise ChannelUnavailable(f"the answer has more than {most} bytes")
    return bytes(body)


def unpack(packed: bytes) -> bytes:
    """Return what gzip or zlib packed. Raises ChannelUnavailable where it is cut off or broken."""
    stream = zlib.decompressobj(_EITHER_HEADER)
    try:
        plain = stream.decompress(packed, MOST_UNPACKED + 1)
    except zlib.error:
        raise ChannelUnavailable("the file is not packed as it should be") from None
    if len(plain) > MOST_UNPACKED:
        raise _too_large()
    if not stream.eof:
        raise ChannelUnavailable("the file is cut off")
    return plain


def unzip(archive: bytes) -> dict[str, bytes]:
    """Return the files in an archive by name. Raises ChannelUnavailable for any other bytes."""
    try:
        with ZipFile(BytesIO(archive)) as opened:
            return _files_in(opened)
    except _NO_ZIP:
        raise ChannelUnavailable("the file is not a zip archive, or is cut off") from None


def _files_in(opened: ZipFile) -> dict[str, bytes]:
    entries = [entry for entry in opened.infolist() if not entry.is_dir()]
    if len(entries) > _MOST_FILES:
        raise ChannelUnavailable(f"the archive has more than {_MOST_FILES} files")
    files: dict[str, bytes] = {}
    for entry in entries:
        left = MOST_UNPACKED - sum(map(len, files.values()))
        files[entry.filename] = _plain(opened, entry, left)
    return files


def _plain(opened: ZipFile, entry: ZipInfo, most: int) -> bytes:
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise ChannelUnavailable("the archive is packed in a way that is not known here")
    with opened.open(entry) as file:
        plain = file.read(most + 1)
    if len(plain) > most:
        raise _too_large()
    return plain


def _too_large() -> ChannelUnavailable:
    return ChannelUnavailable(f"the file has more than {MOST_UNPACKED} bytes when it is unpacked")
