"""What follows a head, carried piece by piece: never more of it in memory than one piece."""

from __future__ import annotations

from collections.abc import Iterator

import h11

from mulligan.sandbox.egress.errors import Refused
from mulligan.sandbox.egress.heads import Head
from mulligan.sandbox.egress.wire import PIECE, Gone, Wire

Piece = bytes | memoryview


def pieces(wire: Wire, head: Head, most: int) -> Iterator[Piece]:
    """The body of the message whose head was read, each piece valid until the next. What follows it stays on the wire.

    Raises Refused when it has more than `most` bytes (in chunks: with their headers) or is broken, Gone when it ends
    too early.
    """
    if head.length is None:
        yield from _chunks(wire, head.parser, most)
    elif head.length > most:
        raise Refused(f"a body of more than {most:,} bytes", 413)
    elif head.length < 0:
        yield from _until_end(wire, most)
    else:
        yield from _counted(wire, head.length)


def _counted(wire: Wire, length: int) -> Iterator[Piece]:
    while length:
        piece = wire.some(min(length, PIECE))
        if not piece:
            raise Gone("it ended within its body")
        length -= len(piece)
        yield piece


def _until_end(wire: Wire, most: int) -> Iterator[Piece]:
    while piece := wire.some(PIECE):
        most -= len(piece)
        if most < 0:
            raise Refused("the body is too large", 413)
        yield piece


def _chunks(wire: Wire, parser: h11.Connection, most: int) -> Iterator[Piece]:
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError as error:
            raise Refused("its chunks are broken") from error
        if isinstance(event, h11.Data):
            yield bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            wire.kept[:0] = parser.trailing_data[0]
            return
        elif event is h11.NEED_DATA:
            piece = wire.some(PIECE)
            if not piece:
                raise Gone("it ended within its body")
            most -= len(piece)
            if most < 0:
                raise Refused("the body is too large", 413)
            parser.receive_data(bytes(piece))
        else:
            raise Refused("its chunks are broken")
