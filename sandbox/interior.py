"""What every sandbox finds inside, whichever engine made it: a command, an environment, a user's name.

And the way back out for text: `tail`, for what a first process printed before it failed.
"""

from __future__ import annotations

from collections.abc import Mapping

from mulligan.sandbox.isolation import GUEST, HOME, PROXY_PORT, RUN, Isolation
from mulligan.sandbox.printable import printable

HOSTNAME = "mulligan"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
TAIL = 4000
#: the file in which the sandbox finds whom it may believe, in sessions that may use the network
BUNDLE = "ca.pem"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_BUNDLES = (
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO"),
    "NODE_EXTRA_CA_CERTS",
)


def command(python: str) -> list[str]:
    """Isolated mode: neither variables nor the folder it starts in can slip a module under the supervisor."""
    return [python, "-I", "-B", f"{GUEST}/start.py"]


def environment(isolation: Isolation, path: str, image: Mapping[str, str] | None = None) -> dict[str, str]:
    """All variables, none of them the host's; MULLIGAN_ENVIRONMENT names them, for the self-test's comparison."""
    own = {"HOME": HOME, "PATH": path, "LANG": "C.UTF-8", **isolation.environment}
    if "PYTHONPATH" in own and image and image.get("PYTHONPATH"):
        own["PYTHONPATH"] += f":{image['PYTHONPATH']}"
    names = sorted({*own, *(image or {}), "PWD", "HOSTNAME"})
    return {**own, "MULLIGAN_ENVIRONMENT": ",".join(names)}


def network_environment() -> dict[str, str]:
    """What has programs use the proxy, and believe it, without a change of theirs."""
    own = dict.fromkeys(_PROXIES, f"http://127.0.0.1:{PROXY_PORT}") | {"NO_PROXY": "localhost,127.0.0.1,::1"}
    own |= {name.lower(): value for name, value in own.items()}
    return own | dict.fromkeys(_BUNDLES, f"{RUN}/{BUNDLE}")


def accounts(isolation: Isolation) -> dict[str, str]:
    """/etc/passwd and /etc/group: the session's user by the name `user`, root and nobody as everywhere."""
    uid, gid = isolation.uid, isolation.gid
    return {
        "/etc/passwd": f"root:x:0:0:root:/root:/bin/false\nuser:x:{uid}:{gid}:user:{HOME}:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
        "/etc/group": f"root:x:0:\nuser:x:{gid}:\nnogroup:x:65534:\n",
    }


def tail(raw: bytes, limit: int = TAIL) -> str:
    """The last `limit` characters of what a process printed, safe to show."""
    return printable(raw[-4 * limit :].decode("utf-8", "replace")).strip()[-limit:]
