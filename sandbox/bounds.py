"""What each engine's report says of every bound: who enforces it, and how."""

from __future__ import annotations

from collections.abc import Mapping

from mulligan.sandbox.isolation import Bound, Enforcement


def of_docker() -> Mapping[str, Bound]:
    return {
        "memory": _kernel(
            "cgroup, all processes together, no swap beyond it; the oldest twins are given up when it fills"
        ),
        "cpus": _kernel("cgroup quota of processor time"),
        "pids": _kernel("cgroup, all processes and threads together"),
        **_of_both(),
        "syscalls": _kernel("the engine's seccomp profile, and the guest's filter from before any user code"),
        "capabilities": _kernel("none, an empty bounding set, no-new-privileges"),
    }


def of_bubblewrap(processors: int, *, user_namespace: bool) -> Mapping[str, Bound]:
    """The kernel counts a user's processes in each user namespace by itself."""
    counted = "of this session alone" if user_namespace else "with whatever else runs as the same uid"
    return {
        "memory": _supervised(
            "the supervisor sums the Pss of the running processes, and what each twin holds privately: it "
            "discards the oldest twins first, then ends what runs; in the kernel, RLIMIT_DATA for each process"
        ),
        "cpus": _kernel(f"pinned to {processors} whole processor(s), which other processes share"),
        "pids": _kernel(f"RLIMIT_NPROC, threads included, counted {counted}"),
        **_of_both(),
        "syscalls": _kernel("the guest's seccomp filter, from before any user code"),
        "capabilities": _kernel("none, an empty bounding set, no_new_privs"),
    }


def by_the_proxy() -> Bound:
    """The bound on the network of a session that may use it."""
    return _kernel(
        "a network namespace with loopback only; the one way out is the proxy on the host, which judges each request"
    )


def _of_both() -> Mapping[str, Bound]:
    return {
        "file_size": _kernel("RLIMIT_FSIZE, one file"),
        "open_files": _kernel("RLIMIT_NOFILE, each process"),
        "disk": _supervised(
            "bytes and files are counted now and then; what is written in between overshoots"
        ),
        "network": _kernel("none: a network namespace with loopback only"),
        "filesystem": _kernel("a mount namespace, read-only but for the session's own folders"),
    }


def _kernel(how: str) -> Bound:
    return Bound(enforcement=Enforcement.KERNEL, how=how)


def _supervised(how: str) -> Bound:
    return Bound(enforcement=Enforcement.SUPERVISED, how=how)
