"""What a Parquet file announces, decoded here: pyarrow's accessors end the process on some damaged footers, and its
reader allocates what the header of a page says, whatever the footer said.

Thrift's compact protocol, as far as Parquet uses it. A field that is there twice is refused, and one of another type
than expected is as good as missing, so that this decoder and pyarrow's cannot be made to see different things.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

_I32, _I64, _BINARY, _LIST, _SET, _STRUCT = 5, 6, 8, 9, 10, 12
_MAX_FOOTER = 4 << 20
_MAX_HEADER = 1 << 20
_MAX_PAGES = 100_000
_MAX_DEPTH = 16
_REPEATED = 2

Struct = dict[tuple[int, int], Any]
"""Fields by number and type."""


@dataclass(frozen=True)
class Chunk:
    """The pages of one column in one row group.

    Attributes:
        column: Its name.
        start, end: Where they lie in the file.
    """

    column: str
    start: int
    end: int


@dataclass(frozen=True)
class Footer:
    """What is read of a footer.

    Attributes:
        rows: Rows of the file; row groups add up to it, and every column has as many values.
        columns: Names; none is nested and none is there twice.
        chunks: Per row group and column.
    """

    rows: int
    columns: list[str]
    chunks: list[Chunk]


def read_footer(file: BinaryIO, size: int) -> Footer:
    """Decode the footer of a file of `size` bytes.

    Raises:
        ValueError: It is torn, damaged, or contradicts itself.
    """
    file.seek(max(0, size - 8))
    end = file.read(8)
    length = int.from_bytes(end[:4], "little")
    if len(end) < 8 or end[4:] != b"PAR1":
        raise ValueError("its end is missing: it is torn, or no Parquet file")
    if length > min(size - 8, _MAX_FOOTER):
        raise ValueError("its footer is damaged")
    file.seek(size - 8 - length)
    try:
        data = _Decoder(file.read(length)).struct()
    except IndexError as error:
        raise ValueError("its footer is damaged") from error
    root, *leaves = _get(data, 2, _LIST)
    columns = [_get(leaf, 4, _BINARY).decode("utf-8") for leaf in leaves]
    nested = any((5, _I32) in leaf or leaf.get((3, _I32)) == _REPEATED for leaf in leaves)
    if nested or _get(root, 5, _I32) != len(columns) or len(set(columns)) < len(columns):
        raise ValueError("columns are nested or there twice")
    groups = _get(data, 4, _LIST)
    rows = _get(data, 3, _I64)
    counts = [_get(group, 3, _I64) for group in groups]
    if sum(counts) != rows or min(counts, default=0) < 0:
        raise ValueError("its row groups do not add up")
    chunks = [chunk for group in groups for chunk in _chunks(group, columns, size)]
    return Footer(rows, columns, chunks)


def decompressed(file: BinaryIO, chunks: list[Chunk], limit: int) -> int:
    """Return the bytes that the pages of some chunks take when they are decompressed.

    Raises:
        ValueError: Pages are damaged, too many, or take more than `limit`.
    """
    total = pages = 0
    for chunk in chunks:
        at = chunk.start
        while at < chunk.end:
            header, length = _page_header(file, at, chunk.end)
            unpacked, packed = _get(header, 2, _I32), _get(header, 3, _I32)
            at += length + packed
            total += unpacked
            pages += 1
            if unpacked < 0 or packed < 0 or at > chunk.end or pages > _MAX_PAGES:
                raise ValueError(f"pages of column {chunk.column!r} are damaged or too many")
            if total > limit:
                raise ValueError(f"it decompresses to more than {limit >> 20} MiB")
    return total


def _page_header(file: BinaryIO, at: int, end: int) -> tuple[Struct, int]:
    for window in (256, _MAX_HEADER):  # statistics can make it long
        file.seek(at)
        decoder = _Decoder(file.read(min(window, end - at)))
        try:
            return decoder.struct(), decoder.at
        except IndexError:
            continue
    raise ValueError("the header of a page is damaged")


def _chunks(group: Struct, columns: list[str], size: int) -> list[Chunk]:
    stored = _get(group, 1, _LIST)
    if len(stored) != len(columns):
        raise ValueError("a row group lacks columns")
    found = []
    for name, column in zip(columns, stored):
        data = _get(column, 3, _STRUCT)
        start = _get(data, 9, _I64)
        dictionary = data.get((11, _I64), 0)
        start = dictionary if 0 < dictionary < start else start
        end = start + _get(data, 7, _I64)
        if (1, _BINARY) in column or not 4 <= start <= end <= size:
            raise ValueError(f"column {name!r} lies outside of the file")
        if _get(data, 5, _I64) != _get(group, 3, _I64):
            raise ValueError(f"column {name!r} has another number of rows")
        found.append(Chunk(name, start, end))
    return found


def _get(data: Any, number: int, kind: int) -> Any:
    try:
        return data[number, kind]
    except (KeyError, TypeError) as error:
        raise ValueError("its footer or a page lacks a field") from error


class _Decoder:
    """Decodes one struct; IndexError if the data ends before it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.depth = 0

    def struct(self) -> Struct:
        self._enter()
        fields: Struct = {}
        number = 0
        while head := self._byte():
            kind = head & 15
            number = number + (head >> 4) if head >> 4 else self._signed()
            if (number, kind) in fields:
                raise ValueError("its footer or a page has a field twice")
            fields[number, kind] = kind == 1 if kind in (1, 2) else self._value(kind)
        self.depth -= 1
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (4, _I32, _I64):
            return self._signed(32 if kind == _I32 else 64)
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in (_LIST, _SET):
            return self._list()
        if kind == _STRUCT:
            return self.struct()
        if kind in (1, 2, 3):
            return self._byte()
        if kind == 7:
            return self._bytes(8)
        raise ValueError("its footer or a page has a field of an unknown type")  # maps too: Parquet has none

    def _list(self) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        if count > len(self.data) - self.at:
            raise IndexError
        self._enter()
        values = [self._value(head & 15) for _ in range(count)]
        self.depth -= 1
        return values

    def _enter(self) -> None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise ValueError("its footer or a page is nested too deeply")

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _bytes(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise IndexError
        self.at += count
        return self.data[self.at - count : self.at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("its footer or a page has a damaged number")

    def _signed(self, bits: int = 64) -> int:
        value = self._varint()
        if value >> bits:
            raise ValueError("its footer or a page has a damaged number")
        return (value >> 1) ^ -(value & 1)
