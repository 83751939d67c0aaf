"""What the supervisor reports through the door is heard, whoever looks at the door first."""

from __future__ import annotations

import os
import socket

import pytest

from mulligan.sandbox.door import Door
from mulligan.sandbox.errors import DoorClosed
from mulligan.sandbox.guest.entry import report


def test_a_report_that_came_while_somebody_looked_for_the_supervisor_is_heard_all_the_same() -> None:
    """A request that waits for its answer looks at the door too: of the self-test, say, when both come at once."""
    with Door.build() as door, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as guest:
        guest.connect(str(door.inner / "door.sock"))
        door.admit({}, 10, lambda: True)
        _, descriptors, _, _ = socket.recv_fds(guest, 64 * 1024, 5)
        for descriptor in descriptors:
            os.close(descriptor)
        report(guest, {"ready": True})
        report(guest, {"twin_memory": "held"})
        assert not door.hung_up()
        assert door.hear(10) == {"ready": True}
        guest.close()
        assert door.hung_up()
        assert door.hear(10) == {"twin_memory": "held"}
        with pytest.raises(DoorClosed, match="hung up"):
            door.hear(10)
