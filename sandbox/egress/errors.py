"""Why a request is not carried. The proxy turns each into an answer, and none leaves this package.

Turned
├── Refused      400, or as it says: the message is not one that everybody reads alike
├── Denied       403: no rule allows it
└── Failed       502, 503, 504: it was allowed and did not work
"""

from __future__ import annotations

from mulligan.sandbox.egress.judgement import Asked, Judgement


class Turned(Exception):
    """`status` is that of the answer, `why` one line for whoever asked."""

    def __init__(self, why: str, status: int) -> None:
        super().__init__(why)
        self.why = why
        self.status = status


class Refused(Turned):
    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why, status)


class Denied(Turned):
    def __init__(self, asked: Asked, judgement: Judgement) -> None:
        super().__init__(judgement.reason, 403)
        self.asked = asked
        self.judgement = judgement


class Failed(Turned):
    def __init__(self, why: str, status: int = 502) -> None:
        super().__init__(why, status)
