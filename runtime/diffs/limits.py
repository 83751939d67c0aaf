"""The bounds of the process that reads hostile contents: what it may use, and what it may ask of the kernel.

A parser of pictures or of parquet is a large program in C. Should a content take it over, it finds a process that
can compute, read and answer: no sockets, no other programs, no signals, no other process's memory, nothing written,
removed or renamed. What it then says is a diff that lies, of that one file.
"""

from __future__ import annotations

import os
import resource

from mulligan.sandbox.guest import seccomp

#: seconds of processor time, and bytes of address space, for one comparison
SECONDS, MEMORY = 10, 2 << 30

_REFUSED: tuple[seccomp.Call, ...] = (
    ("execve", 59, 221),
    ("execveat", 322, 281),
    ("fork", 57, None),
    ("vfork", 58, None),
    ("kill", 62, 129),
    ("tkill", 200, 130),
    ("tgkill", 234, 131),
    ("rt_sigqueueinfo", 129, 138),
    ("rt_tgsigqueueinfo", 297, 240),
    ("pidfd_open", 434, 434),
    ("pidfd_send_signal", 424, 424),
    ("setrlimit", 160, 164),
    ("prlimit64", 302, 261),
    ("socket", 41, 198),
    ("socketpair", 53, 199),
    ("creat", 85, None),
    ("openat2", 437, 437),
    ("truncate", 76, 45),
    ("ftruncate", 77, 46),
    ("unlink", 87, None),
    ("unlinkat", 263, 35),
    ("rmdir", 84, None),
    ("rename", 82, None),
    ("renameat", 264, 38),
    ("renameat2", 316, 276),
    ("mkdir", 83, None),
    ("mkdirat", 258, 34),
    ("link", 86, None),
    ("linkat", 265, 37),
    ("symlink", 88, None),
    ("symlinkat", 266, 36),
    ("mknod", 133, None),
    ("mknodat", 259, 33),
    ("chmod", 90, None),
    ("fchmod", 91, 52),
    ("fchmodat", 268, 53),
    ("fchmodat2", 452, 452),
    ("chown", 92, None),
    ("fchown", 93, 55),
    ("lchown", 94, None),
    ("fchownat", 260, 54),
    ("utime", 132, None),
    ("utimes", 235, None),
    ("futimesat", 261, None),
    ("utimensat", 280, 88),
    ("setxattr", 188, 5),
    ("lsetxattr", 189, 6),
    ("fsetxattr", 190, 7),
    ("removexattr", 197, 14),
    ("lremovexattr", 198, 15),
    ("fremovexattr", 199, 16),
)
_TMPFILE = 0o20000000  # os.O_TMPFILE has the bit of O_DIRECTORY too, with which one may read
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | _TMPFILE
_RULES: tuple[seccomp.Rule, ...] = (
    (2, None, seccomp.refusing_bits(1, _WRITING)),  # open
    (257, 56, seccomp.refusing_bits(2, _WRITING)),  # openat
)


def confine() -> None:
    """This process, for good. OSError or KeyError where it cannot be done."""
    for what, most in (
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))
    seccomp.install(_REFUSED, _RULES)
