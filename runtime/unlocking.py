"""The secrets that a policy's network rules use, read once when a session opens, from where the host keeps them.

Values that could be guessed, or that ordinary output would hold by chance, are refused: taking them out of all that
passes would spoil it, and tell them.
"""

from __future__ import annotations

import math
import os
import re
import secrets as random
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mulligan.policies.errors import PolicyError
from mulligan.policies.policy import Policy

if TYPE_CHECKING:
    from mulligan.sandbox.egress.secrets import Secrets

#: characters of a value, and bits that its letters amount to
SHORTEST, LONGEST, _BITS = 8, 4096, 24
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_TAKEN = re.compile(
    r"PATH|HOME|LANG|PWD|HOSTNAME|LC_.*|LD_.*|PYTHON.*|MULLIGAN.*|.*_PROXY|.*_CA_.*|SSL_.*|PIP_.*"
)


def used(policy: Policy) -> frozenset[str]:
    """The names of those that some network rule puts in."""
    return frozenset(name for layer in policy.layers("network") for rule in layer for name in rule.secrets)


def unlock(policy: Policy) -> Secrets | None:
    """None where no rule uses any. Raises PolicyError, which names the secret and never its value."""
    names = sorted(used(policy) & set(policy.secrets))
    if not names:
        return None
    from mulligan.sandbox.egress.secrets import Secret, Secrets

    return Secrets(
        [
            Secret(name, f"mulligan-{random.token_hex(16)}", _checked(name, policy.secrets[name]))
            for name in names
        ]
    )


def _checked(name: str, place: str) -> str:
    if not _NAME.fullmatch(name) or _TAKEN.fullmatch(name):
        raise PolicyError(
            f"the secret {name!r} cannot be a variable in the sandbox",
            hint="call it by capital letters, digits and _, and not as a variable that programs know: API_TOKEN",
        )
    value = _read(name, place)
    if not SHORTEST <= len(value) <= LONGEST:
        raise PolicyError(
            f"the secret {name!r} has {len(value):,} characters",
            hint=f"from {SHORTEST} to {LONGEST:,} can be kept",
        )
    if not value.isascii() or not value.isprintable() or " " in value:
        raise PolicyError(
            f"the secret {name!r} holds spaces, or what is not printable ASCII", hint="encode it"
        )
    if _bits(value) < _BITS or (value.isalpha() and (value.islower() or value.isupper()) and len(value) < 16):
        hint = (
            "use one that was made by chance: what is short or a word would be found all over ordinary output"
        )
        raise PolicyError(f"the secret {name!r} can be guessed", hint=hint)
    return value


def _bits(value: str) -> float:
    counts = Counter(value).values()
    return -sum(count * math.log2(count / len(value)) for count in counts)


def _read(name: str, place: str) -> str:
    kind, _, where = place.partition(":")
    try:
        if kind == "environment":
            return os.environ[where]
        if kind == "file":
            with Path(where).open(encoding="utf-8") as file:
                return file.read(LONGEST + 2).removesuffix("\n").removesuffix("\r")
    except (KeyError, OSError, UnicodeDecodeError) as error:
        why = (
            error.strerror
            if isinstance(error, OSError)
            else "it is not set"
            if kind == "environment"
            else "not UTF-8"
        )
        raise PolicyError(
            f"the secret {name!r} is not at {place}: {why}", hint="put it there, or name another place"
        ) from None
    return _from_keyring(name, where)


def _from_keyring(name: str, where: str) -> str:
    try:
        keyring = import_module("keyring")
    except ImportError as error:
        raise PolicyError(
            f"the secret {name!r} is in a keyring", hint="Run: pip install 'mulligan[secrets]'"
        ) from error
    service, _, user = where.partition("/")
    try:
        value = keyring.get_password(service, user)
    except keyring.errors.KeyringError as error:
        raise PolicyError(
            f"the keyring cannot be read for the secret {name!r}: {type(error).__name__}"
        ) from None
    if value is None:
        raise PolicyError(
            f"the keyring has no {where!r}, for the secret {name!r}", hint=f"keyring set {service} {user}"
        )
    return str(value)
