"""A file of JSON lines that outlives a killed process; the last line about a thing is its truth."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import msgspec

Record = TypeVar("Record", bound=msgspec.Struct)


class Journal(Generic[Record]):
    """Appends whole records and reads them back; a line cut short by a crash never happened."""

    def __init__(self, path: Path, record: type[Record]) -> None:
        self._path = path
        self._decoder = msgspec.json.Decoder(record)
        self._file: BinaryIO | None = None

    def read(self) -> list[Record]:
        """Answer every complete record in the order it was written.

        Raises ValueError, naming file and line, when a complete line does not hold a record.
        """
        if not self._path.exists():
            return []
        *lines, _cut_short = self._path.read_bytes().split(b"\n")
        records: list[Record] = []
        for position, line in enumerate(lines, start=1):
            try:
                records.append(self._decoder.decode(line))
            except msgspec.DecodeError as error:
                raise ValueError(f"{self._path}, line {position}: {error}") from error
        return records

    def append(self, record: Record, *, forced: bool) -> None:
        """Write one record: it survives the process, and when forced the machine too."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
        self._file.write(msgspec.json.encode(record) + b"\n")
        self._file.flush()
        if forced:
            os.fsync(self._file.fileno())

    def rewrite(self, records: Iterable[Record]) -> None:
        """Replace the file by exactly these records, or leave it as it was."""
        self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        written = self._path.with_suffix(".new")
        with written.open("wb") as file:
            for record in records:
                file.write(msgspec.json.encode(record) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        written.replace(self._path)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
