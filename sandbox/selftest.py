"""The host's half of the self-test: a session opens only when every probe that we know of says that it held.

The results come out of the sandbox, so they are taken as claims of the supervisor alone, made before any user code
ran, and anything that is not exactly "held" under a name that we require is a failure.
"""

from __future__ import annotations

from collections.abc import Mapping

from mulligan.sandbox.errors import SelfTestFailed

HELD = "held"

#: the probes of `guest/probes.py`, and the one that a worker makes: that it cannot read a twin's memory
REQUIRED: frozenset[str] = frozenset(
    {
        "identity",
        "capabilities",
        "no_new_privileges",
        "syscall_filter",
        "own_processes",
        "environment",
        "no_engine_socket",
        "no_interface",
        "no_route",
        "readonly_proc_sys",
        "mount_refused",
        "unshare_refused",
        "ptrace_refused",
        "kill_all_refused",
        "writable_workspace",
        "writable_home",
        "writable_tmp",
        "writable_var_tmp",
        "writable_shm",
        "readonly_root",
        "readonly_etc",
        "readonly_usr",
        "readonly_dev",
        "readonly_run",
        "readonly_run_mulligan",
        "readonly_guest",
        "readonly_mqueue",
        "twin_memory",
    }
)


def check(results: object) -> Mapping[str, str]:
    """The results of the required probes, all of which held; SelfTestFailed names those that did not.

    `results` may be of any shape and hold anything: what is missing or not text counts as failed.
    """
    claims = results if isinstance(results, Mapping) else {}
    failed = {name: _claim(claims.get(name)) for name in sorted(REQUIRED) if claims.get(name) != HELD}
    if failed:
        what = "; ".join(f"{name}: {claim}" for name, claim in failed.items())
        raise SelfTestFailed(
            f"the sandbox does not confine as promised: {what}"[:2000],
            hint="Nothing was run in it. `mulligan doctor` shows what this machine's engines enforce.",
        )
    return dict.fromkeys(sorted(REQUIRED), HELD)


def _claim(value: object) -> str:
    """What was claimed, short and printable."""
    if not isinstance(value, str):
        return "not answered"
    return "".join(char if char.isprintable() else "?" for char in value[:200])
