"""Which kinds a pair of contents may be compared as, the richest first. Name and content must agree, on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mulligan.runtime.diffs.text import is_text

#: modules that have to be there for some kinds, as they are called where they are installed from
LIBRARIES = {"PIL": "Pillow", "pyarrow": "pyarrow"}
EXTRA = "pip install 'mulligan[diff]'"

_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM")


def kinds_for(name: str, before: bytes | None, after: bytes | None) -> tuple[str, ...]:
    """`name` is that of the file now, or was. "binary", which every file is, is not among them."""
    sides = [side for side in (before, after) if side is not None]
    return tuple(_kinds(name.lower(), sides))


def _kinds(name: str, sides: Sequence[bytes]) -> Iterator[str]:
    if all(side.startswith(b"PAR1") for side in sides):
        yield "parquet"
    if all(is_text(side) for side in sides):
        if name.endswith(".ipynb"):
            yield "notebook"
        if name.endswith((".csv", ".tsv")):
            yield "delimited"
        yield "text"
    elif all(_is_picture(side) for side in sides):
        yield "image"


def _is_picture(data: bytes) -> bool:
    return data.startswith(_PICTURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
