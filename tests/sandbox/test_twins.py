"""The supervisor's record of twins, with real processes that speak as twins do."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator

import pytest

from mulligan.sandbox.guest import channel
from mulligan.sandbox.guest.signing import DELIMITER, Request
from mulligan.sandbox.guest.twins import Pending, Twins


@pytest.fixture
def pending() -> Iterator[Pending]:
    """A checkpoint that was asked for, and a process that has said its first word."""
    ours, theirs = channel.pair()
    request = Request([b"client", DELIMITER, b"", b'{"msg_type": "checkpoint_request"}', b"{}", b"{}", b"{}"])
    expected = Pending("t1", request, ours, [])  # from here on the kernel vouches for who speaks
    child = os.fork()
    if child == 0:
        channel.Writer(theirs).send(channel.FROZEN, [b"t1"])
        signal.pause()
    try:
        assert select.select([ours], [], [], 30)[0]
        yield expected
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        ours.close()
        theirs.close()


@pytest.mark.parametrize("between", ["pids", "dead", "nothing"])
def test_the_first_word_of_a_twin_is_heard_whatever_was_asked_meanwhile(
    pending: Pending, between: str
) -> None:
    """It once was swallowed by a look at memory that came between, and the checkpoint given up ten seconds later."""
    twins = Twins()
    twins.expect(pending)
    twins.said(b"t1", b"{}")
    if between != "nothing":
        getattr(twins, between)()
    twins.hear()
    assert twins.wait() == 0
    ((told, twin),) = twins.settle(worker=0)
    assert told is pending
    assert twin is not None
    assert twins.knows("t1")
    assert twin.pid in twins.pids()
    twins.discard(["t1"])
