"""Attacks on what holds a sandbox, each with the mechanism that stops it and what it then sees.

`code` runs in a child of its own, after RUNNER. What it leaves in `got` is what it took; an attack that is stopped ends
by the error of a call, by a signal, or with a `got` that is worth nothing and is named here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

RUNNER = """
import ctypes, errno, fcntl, glob, json, mmap, os, pty, signal, socket, stat, struct, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
def call(name, *arguments):
    answer = getattr(libc, name)(*arguments)
    if answer < 0:
        raise OSError(ctypes.get_errno(), name)
    return answer
def syscall(number, *arguments):
    return call("syscall", number, *arguments)
def read(path):
    with open(path, "rb") as file:
        return file.read(4096)
def write(path, what=b"x"):
    with open(path, "r+b", buffering=0) as file:
        return file.write(what)
def connect(address, family=socket.AF_INET, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as sock:
        sock.settimeout(3)
        sock.connect(address)
def tried(code):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        scope = dict(globals())
        try:
            exec(code, scope)
            said = f"got {scope.get('got')!r}"
        except OSError as error:
            said = errno.errorcode.get(error.errno or 0, type(error).__name__)
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode()[:4000])
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        said = file.read().decode()
    status = os.waitpid(child, 0)[1]
    return said or f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
"""

#: what stops an attack; docs/threat-model.md says more of each
FILTER = "system-call filter"
CAPABILITY = "no capability"
PRIVILEGES = "no new privileges"
ROOT = "read-only root, and root's own files"
ABSENT = "not mounted"
NETWORK = "network namespace"
PROCESSES = "pid namespace"
OWN = "namespace of its own"
USER = "not its user"
UNDUMPABLE = "undumpable process"
LIMIT = "resource limit"
DEVICE = "filesystem boundary"


@dataclass(frozen=True)
class Attack:
    """`sees`: each of the ends that says that it was stopped; where engines differ there are two."""

    name: str
    by: str
    code: str
    sees: tuple[str, ...]


def attack(name: str, by: str, code: str, *sees: str) -> Attack:
    return Attack(name, by, code, sees)


def script(attacks: Iterable[Attack], **known: object) -> str:
    """What makes them all, one after the other, and has their ends in `seen`. `known` is what they know of the host: an
    attacker may have learnt it elsewhere."""
    given = "".join(f"{name} = {value!r}\n" for name, value in known.items())
    codes = {each.name: each.code for each in attacks}
    return f"{RUNNER}{given}seen = {{name: tried(code) for name, code in {codes!r}.items()}}\n"


#: what is tried by the numbers of x86_64 has them in sandbox/guest/seccomp.py
SYSCALLS = {
    "open_tree": "(428, -100, b'/', 1)",
    "move_mount": "(429, -100, b'/tmp', -100, b'/etc', 0)",
    "fsopen": "(430, b'tmpfs', 0)",
    "mount_setattr": "(442, -100, b'/', 0, 0, 0)",
    "setns": "(308, os.open('/proc/self/ns/net', 0), 0)",
    "ptrace": "(101, 16, os.getppid(), 0, 0)",
    "process_vm_readv": "(310, os.getppid(), 0, 0, 0, 0, 0)",
    "process_vm_writev": "(311, os.getppid(), 0, 0, 0, 0, 0)",
    "pidfd_getfd": "(438, os.pidfd_open(os.getppid()), 0, 0)",
    "kcmp": "(312, 1, os.getpid(), 0, 0, 0)",
    "bpf": "(321, 0, 0, 0)",
    "perf_event_open": "(298, 0, 0, -1, -1, 0)",
    "userfaultfd": "(323, 1)",
    "io_uring_setup": "(425, 8, b'\\0' * 120)",
    "io_uring_enter": "(426, 0, 1, 0, 0, 0)",
    "io_uring_register": "(427, 0, 0, 0, 0)",
    "io_setup": "(206, 8, b'\\0' * 8)",
    "add_key": "(248, b'user', b'mine', b'secret', 6, -3)",
    "request_key": "(249, b'user', b'mine', 0, -3)",
    "keyctl": "(250, 11, -3, 0, 0)",
    "modify_ldt": "(154, 0, 0, 0)",
    "open_by_handle_at": "(304, 3, 0, 0)",
    "name_to_handle_at": "(303, -100, b'/', 0, 0, 0)",
    "init_module": "(175, b'', 0, b'')",
    "finit_module": "(313, 0, b'', 0)",
    "kexec_load": "(246, 0, 0, 0, 0)",
    "reboot": "(169, 0xFEE1DEAD, 672274793, 0, 0)",
    "swapon": "(167, b'/workspace/x', 0)",
    "acct": "(163, b'/workspace/x')",
    "syslog": "(103, 3, b' ' * 100, 100)",
    "settimeofday": "(164, b'\\0' * 16, 0)",
    "clock_settime": "(227, 0, b'\\0' * 16)",
    "iopl": "(172, 3)",
    "shmget": "(29, 0, 4096, 0o1666)",
    "semget": "(64, 0, 1, 0o1666)",
    "msgget": "(68, 0, 0o1666)",
    "mq_open": "(240, b'x', 0o102, 0o600, 0)",
    "quotactl": "(179, 0, 0, 0, 0)",
    "umount2": "(166, b'/proc', 2)",
    "pivot_root": "(155, b'/tmp', b'/tmp')",
    "chroot": "(161, b'/tmp')",
    "mount": "(165, b'none', b'/tmp', b'tmpfs', 0, 0)",
}

CALLS = [
    attack(f"call {name}", FILTER, f"got = syscall{arguments}", "EPERM")
    for name, arguments in SYSCALLS.items()
]

#: int 0x80 with the number of getpid(2): the calls of 32 bits have other numbers
OLD_CALLS = "b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3'"

ARGUMENTS = [
    *(
        attack(f"unshare {name}", FILTER, f"got = syscall(272, {flag:#x})", "EPERM")
        for name, flag in {"user": 0x10000000, "mount": 0x20000, "net": 0x40000000, "pid": 0x20000000}.items()
    ),
    attack("clone into a new user namespace", FILTER, "got = syscall(56, 0x10000011, 0, 0, 0, 0)", "EPERM"),
    attack(
        "clone3, whose flags lie behind a pointer", FILTER, "got = syscall(435, b'\\0' * 88, 88)", "ENOSYS"
    ),
    attack("calls by the numbers of x32", FILTER, "got = syscall(0x40000000 + 165, 0, 0, 0, 0, 0)", "EPERM"),
    attack(
        "calls by the gate of 32 bits",
        FILTER,
        f"at = mmap.mmap(-1, 4096, prot=7); at.write({OLD_CALLS})\n"
        "got = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(at)))()",
        "killed by SIGSYS",
    ),
    attack(
        "TIOCSTI into a terminal",
        FILTER,
        "near, far = pty.openpty(); got = fcntl.ioctl(far, 0x5412, b'x')",
        "EPERM",
    ),
    attack(
        "TIOCSTI with higher bits set",
        FILTER,
        "near, far = pty.openpty(); got = syscall(16, far, ctypes.c_ulong(0x100005412), b'x')",
        "EPERM",
    ),
    attack(
        "TIOCLINUX", FILTER, "near, far = pty.openpty(); got = fcntl.ioctl(far, 0x541C, b'\\x03')", "EPERM"
    ),
    attack("addresses that are not random", FILTER, "got = call('personality', 0x40000)", "EPERM"),
    attack("a character device", FILTER, "got = os.mknod('device', 0o20666, os.makedev(1, 1))", "EPERM"),
    attack("a block device", FILTER, "got = os.mknod('device', 0o60666, os.makedev(8, 0))", "EPERM"),
    attack("signals to everybody at once", FILTER, "got = os.kill(-1, 9)", "EPERM"),
    attack(
        "limits of another process", FILTER, "import resource\ngot = resource.prlimit(1, 7, (1, 1))", "EPERM"
    ),
    attack(
        "gigabytes in no time",
        FILTER,
        "got = syscall(285, os.open('big', 66), 0, 0, 1 << 33)",
        "ENOTSUP",
        "EOPNOTSUPP",
    ),
    attack("vsock, which leads to a hypervisor", FILTER, "got = socket.socket(40, 1)", "EAFNOSUPPORT"),
    attack("packet sockets", FILTER, "got = socket.socket(17, 3)", "EAFNOSUPPORT"),
    attack("the kernel's cryptography", FILTER, "got = socket.socket(38, 5)", "EAFNOSUPPORT"),
    attack("netlink beyond interfaces", FILTER, "got = socket.socket(16, 3, 12)", "EAFNOSUPPORT"),
    attack("Bluetooth", FILTER, "got = socket.socket(31, 3, 1)", "EAFNOSUPPORT"),
]

RIGHTS = [
    attack("to be root", CAPABILITY, "got = os.setuid(0)", "EPERM"),
    attack("root's group", CAPABILITY, "got = os.setgroups([0])", "EPERM"),
    attack("another user's id", CAPABILITY, "got = os.setresuid(1, 1, 1)", "EPERM"),
    attack(
        "every capability",
        CAPABILITY,
        "got = syscall(126, struct.pack('Ii', 0x20080522, 0), b'\\xff' * 24)",
        "EPERM",
    ),
    attack(
        "owner of a file that is root",
        CAPABILITY,
        "open('f', 'w').close(); got = os.chown('f', 0, 0)",
        "EPERM",
        "EINVAL",
    ),
    attack(
        "capabilities of a file",
        CAPABILITY,
        "open('f', 'w').close(); got = os.setxattr('f', 'security.capability', b'\\1\\0\\0\\2' + b'\\xff' * 16)",
        "EPERM",
    ),
    attack("the host's name", CAPABILITY, "got = socket.sethostname('evil')", "EPERM"),
    attack("a higher priority", CAPABILITY, "got = os.setpriority(os.PRIO_PROCESS, 0, -20)", "EACCES"),
    attack(
        "real time", CAPABILITY, "got = os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))", "EPERM"
    ),
    attack(
        "a score that spares it when memory is short",
        CAPABILITY,
        "got = write('/proc/self/oom_score_adj', b'-1000')",
        "EACCES",
    ),
    attack("an identity map of users", CAPABILITY, "got = write('/proc/self/uid_map', b'0 0 1')", "EPERM"),
    attack("raw sockets", CAPABILITY, "got = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "EPERM"),
    attack(
        "an interface of its own",
        CAPABILITY,
        "got = fcntl.ioctl(socket.socket(socket.AF_INET, 2), 0x8914, struct.pack('16sH22x', b'lo', 0))",
        "EPERM",
    ),
    attack("every file's events", CAPABILITY, "got = syscall(300, 0, 0)", "EPERM"),
    attack(
        "memory that is never swapped, beyond its limit",
        LIMIT,
        "import resource\ngot = resource.setrlimit(resource.RLIMIT_MEMLOCK, (-1, -1)) "
        "if resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] != -1 else os.strerror(call('mlockall', 2))",
        "ValueError: not allowed to raise maximum limit",
        "EPERM",
        "ENOMEM",
    ),
    attack(
        "more open files",
        LIMIT,
        "import resource\ngot = resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20))",
        "ValueError: not allowed to raise maximum limit",
    ),
    attack(
        "a core dump",
        LIMIT,
        "import resource\ngot = resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))",
        "ValueError: not allowed to raise maximum limit",
    ),
    attack(
        "setuid of a file of its own",
        USER,
        "import shutil\nshutil.copy(os.path.realpath('/bin/sh'), 'sh'); os.chmod('sh', 0o6755)\n"
        "got = subprocess.run(['./sh', '-p', '-c', 'id -u'], capture_output=True, text=True).stdout.strip() == '0'",
        "got False",
    ),
    attack(
        "setuid files of the system",
        PRIVILEGES,
        "found = [p for d in ('/bin', '/usr/bin', '/usr/sbin', '/sbin') for p in glob.glob(d + '/*')\n"
        "         if os.path.isfile(p) and os.stat(p).st_mode & stat.S_ISUID]\n"
        "got = []\n"
        "for path in found:\n"
        "    with subprocess.Popen([path], stdin=-1, stdout=-3, stderr=-3) as ran:\n"
        "        ids = open(f'/proc/{ran.pid}/status').read().split('Uid:')[1].split()[:4]\n"
        "        got += [path] if '0' in ids else []\n"
        "        ran.kill()",
        "got []",
    ),
]

FILES = [
    *(
        attack(f"write to {path}", ROOT, f"got = open({path!r}, 'ab')", "EROFS", "EACCES", *more)
        for path, more in {
            "/etc/passwd": (),
            "/etc/hosts": ("ENOENT",),
            "/etc/sudoers": ("ENOENT",),
            "/etc/ld.so.preload": ("EROFS",),
            "/etc/crontab": ("ENOENT",),
            "/usr/bin/env": (),
            "/opt/mulligan/mulligan_guest/worker.py": (),
            "/run/mulligan/x": (),
            "/usr/lib/x": (),
            "/x": (),
            "/dev/x": (),
            "/dev/mqueue/x": ("ENOENT",),
        }.items()
    ),
    *(
        attack(
            f"write to /proc/{path}", ROOT, f"got = open('/proc/{path}', 'wb')", "EROFS", "EACCES", "ENOENT"
        )
        for path in (
            "sys/kernel/core_pattern",
            "sys/kernel/modprobe",
            "sys/vm/drop_caches",
            "sysrq-trigger",
            "sys/fs/binfmt_misc/register",
            "sys/user/max_user_namespaces",
            "irq/0/smp_affinity",
            "sys/net/ipv4/ip_forward",
        )
    ),
    *(
        attack(f"write to {path}", ROOT, f"got = open({path!r}, 'wb')", "EROFS", "EACCES", "ENOENT")
        for path in (
            "/sys/fs/cgroup/cgroup.procs",
            "/sys/fs/cgroup/release_agent",
            "/sys/kernel/uevent_helper",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/power/state",
        )
    ),
    attack(
        "the program that runs", ROOT, "got = open('/proc/self/exe', 'r+b')", "EROFS", "ETXTBSY", "EACCES"
    ),
    *(
        attack(f"read {path}", by, f"got = read({path!r})", *sees)
        for path, by, sees in (
            ("/etc/shadow", USER, ("EACCES", "ENOENT")),
            ("/root/.ssh/id_rsa", ABSENT, ("EACCES", "ENOENT")),
            ("/etc/ssh/ssh_host_rsa_key", ABSENT, ("ENOENT", "EACCES")),
            ("/dev/mem", ABSENT, ("ENOENT",)),
            ("/dev/kmsg", ABSENT, ("ENOENT", "EPERM")),
            ("/dev/sda", ABSENT, ("ENOENT",)),
            ("/dev/vda", ABSENT, ("ENOENT",)),
            ("/dev/kvm", ABSENT, ("ENOENT",)),
            ("/dev/fuse", ABSENT, ("ENOENT",)),
            ("/dev/net/tun", ABSENT, ("ENOENT",)),
            ("/dev/loop-control", ABSENT, ("ENOENT",)),
            ("/proc/kcore", ABSENT, ("got b''", "ENOENT", "EACCES")),
            ("/proc/keys", ABSENT, ("got b''", "ENOENT", "EACCES")),
            ("/proc/timer_list", ABSENT, ("got b''", "ENOENT", "EACCES")),
            ("/proc/kallsyms", ABSENT, ("got b''", "ENOENT", "EACCES")),
            ("/proc/1/environ", UNDUMPABLE, ("EACCES",)),
            ("/proc/1/maps", UNDUMPABLE, ("EACCES",)),
            ("/proc/1/mem", UNDUMPABLE, ("EACCES",)),
            ("/proc/1/root/etc/passwd", UNDUMPABLE, ("EACCES",)),
            ("/proc/1/cwd/x", UNDUMPABLE, ("EACCES",)),
            ("/proc/1/fd/1", UNDUMPABLE, ("EACCES",)),
            ("/var/run/secrets/kubernetes.io/serviceaccount/token", ABSENT, ("ENOENT",)),
        )
    ),
    attack("the engine's log, to fill it", UNDUMPABLE, "got = open('/proc/1/fd/2', 'wb')", "EACCES"),
    attack(
        "a symbolic link to what it may not read",
        USER,
        "os.symlink('/etc/shadow', 'link'); got = read('link')",
        "EACCES",
        "ENOENT",
    ),
    attack(
        "a symbolic link to what it may not write",
        ROOT,
        "os.symlink('/etc/passwd', 'link2'); got = open('link2', 'ab')",
        "EROFS",
        "EACCES",
    ),
    attack("a hard link to the system", DEVICE, "got = os.link('/etc/passwd', 'hard')", "EXDEV", "EPERM"),
    attack(
        "a hard link to the guest",
        DEVICE,
        "got = os.link(glob.glob('/opt/mulligan/**/worker.py', recursive=True)[0], 'hard')",
        "EXDEV",
        "EPERM",
    ),
    attack(
        "descriptors that lead out",
        OWN,
        "places = [f'/proc/self/fd/{fd}' for fd in os.listdir('/proc/self/fd')]\n"
        "held = [os.readlink(place) for place in places if os.path.exists(place)]\n"
        "inside = ('/dev/', '/proc/', '/workspace', '/tmp/', '/memfd:')\n"
        "got = [path for path in held if path.startswith('/') and not path.startswith(inside)]",
        "got []",
    ),
    attack(
        "above the root",
        OWN,
        "got = os.path.samefile('/..', '/') and os.path.samefile('/../../..', '/')",
        "got True",
    ),
]

OTHERS = [
    attack(
        "processes of the host",
        PROCESSES,
        "got = [name for name in os.listdir('/proc') if name.isdigit() and\n"
        "       open(f'/proc/{name}/status').read().split('PPid:')[1].split()[0] == '0' and name != '1']",
        "got []",
    ),
    attack("signals to a process of the host", PROCESSES, "got = os.kill(host_pid, 0)", "ESRCH"),
    attack("a process of the host in /proc", PROCESSES, "got = read(f'/proc/{host_pid}/environ')", "ENOENT"),
    attack(
        "the host's environment",
        OWN,
        "got = [name for name in os.environ if 'MULLIGAN_TEST' in name]",
        "got []",
    ),
    attack("a secret file of the host", ABSENT, "got = read(secret)", "ENOENT", "EACCES"),
    attack("another session's files", ABSENT, "got = os.listdir(other)", "ENOENT", "EACCES"),
    attack("its own store and ledger on the host", ABSENT, "got = os.listdir(state)", "ENOENT", "EACCES"),
    attack("another's shared memory", OWN, "got = [name for name in os.listdir('/dev/shm')]", "got []"),
    attack("a folder where mounts are kept", ABSENT, "got = os.listdir('/host')", "ENOENT"),
    attack(
        "System V segments of the host",
        OWN,
        "got = read('/proc/sysvipc/shm').count(b'\\n')",
        "got 1",
        "ENOENT",
    ),
    attack("the name of the host", OWN, "got = socket.gethostname()", "got 'mulligan'"),
]

REACHING = [
    *(
        attack(f"connect to {name}", NETWORK, f"got = connect({address})", *sees)
        for name, address, sees in (
            ("an address", "('192.0.2.1', 80)", ("ENETUNREACH",)),
            ("a public resolver", "('1.1.1.1', 53)", ("ENETUNREACH",)),
            ("the metadata service", "('169.254.169.254', 80)", ("ENETUNREACH",)),
            (
                "the metadata service over IPv6",
                "('fd00:ec2::254', 80), socket.AF_INET6",
                ("ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT"),
            ),
            ("the bridge of the engine", "('172.17.0.1', 80)", ("ENETUNREACH",)),
            ("a server on the host's loopback", "('127.0.0.1', port)", ("ECONNREFUSED",)),
            ("a server on any address of the host", "('0.0.0.0', port)", ("ECONNREFUSED",)),
            ("the host by its own address", "(ours, port)", ("ENETUNREACH", "ECONNREFUSED")),
            ("an abstract socket of the host", "'\\0' + abstract, socket.AF_UNIX", ("ECONNREFUSED",)),
        )
    ),
    attack(
        "a packet for a resolver",
        NETWORK,
        "got = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('1.1.1.1', 53))",
        "ENETUNREACH",
    ),
    attack("a name", NETWORK, "got = socket.getaddrinfo('c2VjcmV0.example.com', 80)", "gaierror"),
    attack(
        "an echo",
        NETWORK,
        "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)\n"
        "got = sock.sendto(b'\\x08' + b'\\0' * 7, ('1.1.1.1', 0))",
        "EACCES",
        "ENETUNREACH",
    ),
    attack(
        "multicast to neighbours",
        NETWORK,
        "got = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('224.0.0.251', 5353))",
        "ENETUNREACH",
    ),
    *(
        attack(
            f"the engine's socket {path}",
            ABSENT,
            f"got = connect({path!r}, socket.AF_UNIX)",
            "ENOENT",
            "EACCES",
        )
        for path in (
            "/var/run/docker.sock",
            "/run/docker.sock",
            "/run/containerd/containerd.sock",
            "/run/podman/podman.sock",
            "/run/dbus/system_bus_socket",
            "/run/systemd/private",
        )
    ),
    attack(
        "the door, once it is shut",
        ABSENT,
        "got = connect('/run/mulligan/door.sock', socket.AF_UNIX, socket.SOCK_SEQPACKET)",
        "ENOENT",
        "ECONNREFUSED",
    ),
    attack(
        "interfaces beside loopback",
        NETWORK,
        "up = [line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line]\n"
        "def flags(name): return fcntl.ioctl(socket.socket(2, 2), 0x8913, struct.pack('16sH22x', name.encode(), 0))\n"
        "got = [name for name in up if name != 'lo' and struct.unpack_from('H', flags(name), 16)[0] & 1]",
        "got []",
    ),
    attack("routes", NETWORK, "got = len(open('/proc/net/route').readlines())", "got 1"),
]

ATTACKS = [*CALLS, *ARGUMENTS, *RIGHTS, *FILES, *OTHERS, *REACHING]
