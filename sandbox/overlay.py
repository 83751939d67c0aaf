"""An overlay mount over a folder of the user's: read through, and never written.

The lower layer is a clone of the folder's mount that is attached nowhere, read-only by what overlayfs does to its
layers, and *idmapped*: what belongs to the folder's owner belongs, seen through it, to the session's user. So nothing
is copied to change hands. The upper layer is a folder of the session's own, and takes all that is written.

Code inside can ask for none of this: whiteouts and `trusted.overlay.*` take capabilities of the host's, and
`user.overlay.*`, which anybody may set, means nothing to a mount that was made without `userxattr`. Devices and setuid
bits of the layers have no effect.

It takes root, a kernel that mounts detached trees as layers (seen on Linux 6.18), and filesystems that can be layers.
Where any of it is missing, `mount` raises OSError and nothing is mounted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)

#: the same on every architecture
_OPEN_TREE, _MOUNT_SETATTR = 428, 442
_EMPTY_PATH, _CLONE = 0x1000, 0x01
_IDMAP, _RDONLY = 0x100000, 0x01
_NOSUID, _NODEV, _DETACH, _NOFOLLOW = 0x02, 0x04, 0x02, 0x08

#: folders can be renamed; the rest changes what is on the disk in ways that nobody here needs
_FEATURES = "redirect_dir=on,index=off,metacopy=off"


def mount(
    lower: int, upper: Path, work: Path, at: Path, *, owner: tuple[int, int], user: tuple[int, int]
) -> None:
    """Mount at the folder `at` what is open as `lower`, with `upper` over it. What belongs to `owner` below, uid and
    gid, belongs to `user` above. `work` is an empty folder beside `upper`. Raises OSError."""
    with _mapping(owner, user) as namespace, _cloned(lower) as tree:
        attributes = struct.pack("QQQQ", _IDMAP | _RDONLY, 0, 0, namespace)
        _call(_MOUNT_SETATTR, tree, b"", _EMPTY_PATH, attributes, ctypes.c_size_t(len(attributes)))
        with _opened(upper) as top, _opened(work) as space:
            layers = f"lowerdir={_reach(tree)},upperdir={_reach(top)},workdir={_reach(space)}"
            options = f"{layers},{_FEATURES}".encode()
            if _libc.mount(b"overlay", os.fsencode(at), b"overlay", _NOSUID | _NODEV, options) != 0:
                raise _error("mount")


def unmount(at: Path) -> bool:
    """Take away what is mounted at a folder; whether anything was. Who still uses it may go on to. Raises OSError."""
    if _libc.umount2(os.fsencode(at), _DETACH | _NOFOLLOW) == 0:
        return True
    if ctypes.get_errno() in (errno.EINVAL, errno.ENOENT):
        return False
    raise _error("umount")


def whiteout(name: bytes, at: int) -> None:
    """Have the upper layer hide a name of the lower one; `at` is an open folder of the upper one."""
    os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=at)


@contextmanager
def _mapping(owner: tuple[int, int], user: tuple[int, int]) -> Iterator[int]:
    """A user namespace in which `owner` stands for `user`; it holds no process when it is used."""
    command = ["unshare", "--user", "--", "cat"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        try:
            holder.stdin.write(b"x")
            holder.stdin.flush()
            if holder.stdout.read(1) != b"x":  # from here on it is in its namespace
                raise OSError(errno.EPERM, "no user namespace can be made")
            for name, below, above in zip(("uid_map", "gid_map"), owner, user, strict=True):
                Path(f"/proc/{holder.pid}/{name}").write_text(f"{below} {above} 1\n")
            namespace = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            with suppress(BrokenPipeError):
                holder.stdin.close()
    try:
        yield namespace
    finally:
        os.close(namespace)


@contextmanager
def _cloned(folder: int) -> Iterator[int]:
    """The folder's mount once more, attached nowhere; without what is mounted further down."""
    tree = _call(_OPEN_TREE, folder, b"", _EMPTY_PATH | _CLONE | os.O_CLOEXEC)
    try:
        yield tree
    finally:
        os.close(tree)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _reach(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _call(number: int, *arguments: object) -> int:
    done = int(_libc.syscall(number, *arguments))
    if done < 0:
        raise _error("mount")
    return done


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
