"""Connections to the host's proxy across a restore.

A twin shares its sockets with the worker that went on, and so the bytes that came on them for that one. The host cuts
every connection before a twin wakes; what lies unread in them is thrown away here, or the first answer that the woken
code reads would be one to somebody else's question.
"""

from __future__ import annotations

import os
import socket

#: isolation.py
PROXY = ("127.0.0.1", 3128)
_CLOSE, _CLOSE_WAIT = 7, 8  # the other side has hung up


def empty() -> None:
    """Throw away what is left of cut connections to the proxy."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                _empty(int(name))
        except OSError:
            continue  # closed since it was listed, or not connected


def _empty(descriptor: int) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        if sock.family is not socket.AF_INET or sock.type is not socket.SOCK_STREAM:
            return
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        if state in (_CLOSE, _CLOSE_WAIT) and _is_to_the_proxy(sock):
            while sock.recv(1 << 16, socket.MSG_DONTWAIT):
                pass


def _is_to_the_proxy(sock: socket.socket) -> bool:
    try:
        return bool(sock.getpeername() == PROXY)
    except OSError:
        return True  # to nobody any more
