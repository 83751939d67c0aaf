"""What follows a head, carried piece by piece: never more of it in memory than one piece."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import h11

from mulligan.sandbox.egress.errors import Refused
from mulligan.sandbox.egress.heads import Head
from mulligan.sandbox.egress.judgement import Preview
from mulligan.sandbox.egress.wire import PIECE, Gone, Wire

Piece = bytes | memoryview
#: bytes of a body that a person is shown, and seconds that they may take to come
SHOWN, _SOON = 4096, 2.0


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


def beginning(wire: Wire, head: Head) -> Preview:
    """As much of a request's body as can be shown while it waits; all of it stays on the wire. Raises Gone."""
    passed = head.forwarded() if head.method != "CONNECT" else []
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in passed)
    if head.length is None or head.length < 0:
        return Preview(headers=headers, length=None)
    deadline = time.monotonic() + _SOON
    with suppress(Gone):  # it is slow, or it waits for a word of ours: then there is less to show
        while not head.expects and len(wire.kept) < min(head.length, SHOWN) and wire.fill(deadline):
            pass
    begun = bytes(wire.kept[: min(head.length, SHOWN)])
    return Preview(headers=headers, beginning=begun, length=head.length)


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
