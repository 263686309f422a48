"""Files that channels give us: how they are packed, and that no more is held than a limit says."""

import gzip
import zlib
from io import BytesIO
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, ZipFile

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from gateway.channels.downloads import MOST_UNPACKED, read_within, unpack, unzip
from gateway.errors import ChannelUnavailable
from tests.channels.bench import serving
from tests.channels.bill_contract import FUZZED, changed


def zipped(files: dict[str, bytes], how: int = ZIP_DEFLATED) -> bytes:
    packed = BytesIO()
    with ZipFile(packed, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


TWO = zipped({"a.csv": b"one", "folder/": b"", "b.csv": b"two"})


def test_gzip_and_zlib_are_told_apart() -> None:
    assert unpack(gzip.compress(b"lines")) == unpack(zlib.compress(b"lines")) == b"lines"


def test_the_files_of_an_archive_are_read_by_name_and_folders_are_none() -> None:
    assert unzip(TWO) == {"a.csv": b"one", "b.csv": b"two"}
    assert unzip(zipped({"a": b"one"}, ZIP_STORED)) == {"a": b"one"}


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>", id="a page"),
        pytest.param(gzip.compress(b"lines")[:-9], id="cut off"),
        pytest.param(gzip.compress(b"lines")[:-8] + b"\0" * 8, id="another checksum"),
    ],
)
def test_what_does_not_unpack_is_no_file(file: bytes) -> None:
    with pytest.raises(ChannelUnavailable):
        unpack(file)


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(TWO[:-30], id="cut off"),
        pytest.param(
            zipped({"a": b"one"}, ZIP_STORED).replace(b"one", b"two"), id="another checksum"
        ),
        pytest.param(zipped({"a": b"one"}, ZIP_BZIP2), id="packed in another way"),
        pytest.param(zipped(dict.fromkeys("abcdefghijklmnopq", b"")), id="too many files"),
        pytest.param(
            TWO.replace(b"PK\x01\x02\x14\x03\x14\0\0", b"PK\x01\x02\x14\x03\x14\0\x01"),
            id="encrypted",
        ),
    ],
)
def test_what_is_no_archive_of_ours_has_no_files(archive: bytes) -> None:
    with pytest.raises(ChannelUnavailable):
        unzip(archive)


def test_what_unpacks_without_end_is_not_held() -> None:
    half = bytes(MOST_UNPACKED // 2)
    with pytest.raises(ChannelUnavailable, match="more than"):
        unzip(zipped({"a": half, "b": half + b"1"}))


async def test_an_answer_that_does_not_end_is_not_read_to_its_end() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while request.transport is not None:
            await answer.write(b"\0" * 65536)
        return answer

    app = web.Application()
    app.router.add_get("/", endless)
    async with (
        serving(app) as url,
        aiohttp.ClientSession() as http,
        http.get(url) as answer,
    ):
        with pytest.raises(ChannelUnavailable, match="more than 100000 bytes"):
            await read_within(answer, 100_000)
        answer.close()


@FUZZED
@given(st.binary() | changed(TWO) | changed(gzip.compress(b"lines" * 9, mtime=0)))
def test_any_bytes_are_unpacked_or_refused(file: bytes) -> None:
    for read in (unpack, unzip):
        try:
            read(file)
        except ChannelUnavailable:
            continue
