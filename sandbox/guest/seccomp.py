"""The syscall filter that everything in the sandbox runs under: a table, and the small assembler that packs it.

What it is for. No capability, no network and a read-only root already confine the sandbox. The filter takes away the
parts of the kernel that have let unprivileged code out before (namespaces, io_uring, BPF, keyrings, rare socket
families) and the doors between processes of one uid, through which an action could reach a twin. It also refuses
the few places that a snapshot of files cannot see.

Why a list of refusals and not of permissions: the sandbox runs any Python package, torch and databases among them,
and each release of a C library calls something new. Docker's own list of permissions stays in force below this one.

Why classic BPF by hand: libseccomp is in no base image. The kernel caches the answer for every call that the filter
allows without looking at arguments, so its length costs nothing per call.

What it breaks, on purpose: strace and gdb inside the sandbox (`ptrace`), System V IPC, POSIX message queues and the
kernel's asynchronous I/O (`io_setup`).
"""

from __future__ import annotations

import ctypes
import errno
import platform
from collections.abc import Sequence

# One entry a call: name, number on x86_64, number on aarch64 (None: the call does not exist there).
Call = tuple[str, "int | None", "int | None"]

REFUSED: Sequence[Call] = (
    # Mounting: a mount namespace of one's own is the first step of most escapes.
    ("mount", 165, 40),
    ("umount2", 166, 39),
    ("pivot_root", 155, 41),
    ("chroot", 161, 51),
    ("open_tree", 428, 428),
    ("move_mount", 429, 429),
    ("fsopen", 430, 430),
    ("fsconfig", 431, 431),
    ("fsmount", 432, 432),
    ("fspick", 433, 433),
    ("mount_setattr", 442, 442),
    ("open_tree_attr", 467, 467),
    # Namespaces: inside a new user namespace a process has every capability, and all their bugs.
    ("unshare", 272, 97),
    ("setns", 308, 268),
    # Reading, writing or steering another process: twins run under the same uid.
    ("ptrace", 101, 117),
    ("process_vm_readv", 310, 270),
    ("process_vm_writev", 311, 271),
    ("process_madvise", 440, 440),
    ("pidfd_getfd", 438, 438),
    ("kcmp", 312, 272),
    ("migrate_pages", 256, 238),
    ("move_pages", 279, 239),
    # Large interfaces of the kernel that Python code does not need and exploits do.
    ("bpf", 321, 280),
    ("perf_event_open", 298, 241),
    ("userfaultfd", 323, 282),
    ("io_uring_setup", 425, 425),
    ("io_uring_enter", 426, 426),
    ("io_uring_register", 427, 427),
    ("add_key", 248, 217),
    ("request_key", 249, 218),
    ("keyctl", 250, 219),
    ("modify_ldt", 154, None),
    ("lookup_dcookie", 212, 18),
    # State that outlives its process and lies in no file, where undo could not reach it.
    ("shmget", 29, 194),
    ("semget", 64, 190),
    ("msgget", 68, 186),
    ("mq_open", 240, 180),
    # Writing that its process has left to the kernel, and that goes on while it is stopped or ends.
    ("io_setup", 206, 0),
    # Opening files by inode number goes round the mounts.
    ("name_to_handle_at", 303, 264),
    ("open_by_handle_at", 304, 265),
    # The machine itself. All need a capability too; two locks are better than one.
    ("init_module", 175, 105),
    ("finit_module", 313, 273),
    ("delete_module", 176, 106),
    ("kexec_load", 246, 104),
    ("kexec_file_load", 320, 294),
    ("reboot", 169, 142),
    ("swapon", 167, 224),
    ("swapoff", 168, 225),
    ("quotactl", 179, 60),
    ("quotactl_fd", 443, 443),
    ("acct", 163, 89),
    ("syslog", 103, 116),
    ("vhangup", 153, 58),
    ("settimeofday", 164, 170),
    ("clock_settime", 227, 112),
    ("adjtimex", 159, 171),
    ("clock_adjtime", 305, 266),
    ("iopl", 172, None),
    ("ioperm", 173, None),
    # Under bubblewrap the bound on processors is the set that we are pinned to.
    ("sched_setaffinity", 203, 122),
)

#: Calls of which a listener is told before they go on: they make a second name for a file (links.py).
TOLD: Sequence[Call] = (("link", 86, None), ("linkat", 265, 37))
#: and this one where it is to share what it maps
MMAP: Call = ("mmap", 9, 222)
MAP_SHARED = 1  # set in MAP_SHARED_VALIDATE too, and not in MAP_PRIVATE

CLONE_NEW_ANY = 0x7E020000  # NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16

ARCHITECTURES = {
    "x86_64": (0, 0xC000003E, 317),
    "aarch64": (1, 0xC00000B7, 277),
}  # column, AUDIT_ARCH, seccomp(2)

# struct seccomp_data: the low halves of the arguments suffice, for the kernel reads no more of these.
NUMBER, ARCH, ARGUMENTS = 0, 4, 16
LOAD, AND, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, ERRNO, TELL = 0x7FFF0000, 0x80000000, 0x00050000, 0x7FC00000
ALL_THREADS, NEW_LISTENER, ALL_THREADS_OR_ESRCH = 1, 8, 16

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant
# The number of a call on x86_64 and on aarch64, and what to do once it was made.
Rule = tuple["int | None", "int | None", "list[Instruction]"]


def program(
    machine: str, also: Sequence[Call] = (), rules: Sequence[Rule] = (), *, telling: bool = False
) -> list[Instruction]:
    """The filter for one kind of machine, as `uname -m` names it. An unknown one has none: KeyError.

    `also` are calls to refuse besides, and `rules` come before those that look at arguments. `telling`: what is in
    TOLD waits for a listener, and so does a map that shares.
    """
    column, arch, _ = ARCHITECTURES[machine]
    code: list[Instruction] = [
        (LOAD, 0, 0, ARCH),
        (EQUAL, 1, 0, arch),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
    ]
    if machine == "x86_64":
        code += [(AT_LEAST, 0, 1, 0x40000000), _refuse(errno.EPERM)]  # x32: other numbers for the same calls
    for _, *numbers in (*REFUSED, *also):
        code += _when(numbers[column], [_refuse(errno.EPERM)])
    for _, *numbers in TOLD if telling else ():
        code += _when(numbers[column], [(RETURN, 0, 0, TELL)])
    if telling:
        _, *of_mmap = MMAP
        code += _when(of_mmap[column], [_argument(3), (ANY_BIT, 0, 1, MAP_SHARED), (RETURN, 0, 0, TELL)])
    for on_x86_64, on_aarch64, rule in (*rules, *_looking_at_arguments()):
        code += _when((on_x86_64, on_aarch64)[column], rule)
    return [*code, (RETURN, 0, 0, ALLOW)]


def number(call: Call) -> int:
    """Of a call on this machine; -1 where it does not exist. KeyError as for `program`."""
    _, *numbers = call
    found = numbers[ARCHITECTURES[platform.machine()][0]]
    return -1 if found is None else found


def install(also: Sequence[Call] = (), rules: Sequence[Rule] = ()) -> None:
    """Put this process, its threads and all their descendants under the filter, for good; `also` and `rules` as in
    `program`.

    May be repeated; each time adds the same filter once more. OSError when the kernel refuses, KeyError on a kind
    of machine that the table does not know.
    """
    if _install(program(platform.machine(), also, rules), ALL_THREADS) != 0:
        raise OSError(ctypes.get_errno(), "the syscall filter was refused")


def install_telling() -> int:
    """As `install`, and the descriptor of a listener that is told of the calls in TOLD, which wait for its answer; -1
    where the kernel has no such thing (before 5.7) or somebody around us listens already: nobody is told then.
    """
    flags = ALL_THREADS | ALL_THREADS_OR_ESRCH | NEW_LISTENER
    listener = _install(program(platform.machine(), telling=True), flags)
    if listener < 0:
        install()
    return listener


def _install(code: list[Instruction], flags: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS, without which only root may filter
        raise OSError(ctypes.get_errno(), "no_new_privs was refused")
    filters = (_Filter * len(code))(*(_Filter(*instruction) for instruction in code))
    packed = _Program(len(code), filters)
    number = ARCHITECTURES[platform.machine()][2]
    return int(libc.syscall(number, 1, flags, ctypes.byref(packed)))  # SECCOMP_SET_MODE_FILTER


def refusing_bits(argument: int, bits: int) -> list[Instruction]:
    """What to do once a call was made: refuse it if an argument has any of these bits."""
    return [_argument(argument), (ANY_BIT, 0, 1, bits), _refuse(errno.EPERM)]


def _looking_at_arguments() -> Sequence[Rule]:
    """Calls whose arguments decide: number on x86_64, number on aarch64, what to do once that call was made."""
    refuse = _refuse(errno.EPERM)
    device = [(AND, 0, 0, 0xB000), (EQUAL, 0, 1, 0x2000), refuse]  # S_IFCHR and S_IFBLK, and no other type
    return [
        (56, 220, [_argument(0), (ANY_BIT, 0, 1, CLONE_NEW_ANY), refuse]),  # clone
        # clone3 hides its flags behind a pointer, which a filter cannot follow. C libraries fall back to clone.
        (435, 435, [_refuse(errno.ENOSYS)]),
        # kill(-1) reaches every process of this uid: the twins.
        (62, 129, [_argument(0), (EQUAL, 0, 1, 0xFFFFFFFF), refuse]),
        # prlimit64: one's own limits only.
        (302, 261, [_argument(0), (EQUAL, 1, 0, 0), refuse]),
        # ioctl: pushing characters into a terminal.
        (16, 29, [_argument(1), (EQUAL, 1, 0, TIOCSTI), (EQUAL, 0, 1, TIOCLINUX), refuse]),
        # personality: ask (-1) or ask for the plain one (0); others switch randomisation of addresses off.
        (135, 92, [_argument(0), (EQUAL, 2, 0, 0), (EQUAL, 1, 0, 0xFFFFFFFF), refuse]),
        (133, None, [_argument(1), *device]),  # mknod
        (259, 33, [_argument(2), *device]),  # mknodat
        # socket: the families that programs use. Of netlink only its first protocol, which lists interfaces
        # (getaddrinfo asks it). The rest are rarely used code of the kernel, and vsock leads to a hypervisor.
        (
            41,
            198,
            [
                _argument(0),
                (EQUAL, 6, 0, AF_UNIX),
                (EQUAL, 5, 0, AF_INET),
                (EQUAL, 4, 0, AF_INET6),
                (EQUAL, 0, 2, AF_NETLINK),
                _argument(2),
                (EQUAL, 1, 0, 0),
                _refuse(errno.EAFNOSUPPORT),
            ],
        ),
        # fallocate takes gigabytes in no time, long before a bound on disk that is polled can act (26 times over
        # it, measured). Told "not supported", C libraries write the file out instead, at a pace that is seen.
        (285, 47, [_refuse(errno.EOPNOTSUPP)]),
    ]


def _when(number: int | None, then: list[Instruction]) -> list[Instruction]:
    """If the call is `number`, do `then`, and allow it should `then` come to no end; else go on."""
    if number is None:
        return []
    block = [*then, (RETURN, 0, 0, ALLOW)]
    return [(EQUAL, 0, len(block), number), *block]


def _argument(index: int) -> Instruction:
    return (LOAD, 0, 0, ARGUMENTS + 8 * index)


def _refuse(number: int) -> Instruction:
    return (RETURN, 0, 0, ERRNO | number)


class _Filter(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("filters", ctypes.POINTER(_Filter))]
