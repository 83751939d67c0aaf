"""Sessions that may use the network, as a test's rules say: for tests that begin inside a sandbox."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.egress.servers import Names, Rules

import mulligan
from mulligan import Session, Step
from mulligan.sandbox.egress.judgement import Asked, Judgement


@dataclass
class Grant:
    """What the session's judge is made from; the session records by itself."""

    rules: Rules

    def judge(self, asked: Asked) -> Judgement:
        return self.rules.judge(asked)

    def needs_inside(self, host: str, port: int) -> bool:
        return self.rules.needs_inside(host, port)


@dataclass
class Online:
    """`rules` may be changed while it is open."""

    session: Session
    rules: Rules
    names: Names

    def run(self, code: str, timeout: float = 60) -> Step:
        step = self.session.run(code, timeout=timeout)
        assert step.reach is not None  # its checkpoint is taken
        return step

    def said(self, code: str, timeout: float = 60) -> str:
        outcome = self.run(code, timeout).outcome
        assert outcome.kind == "completed", outcome.text
        return outcome.stdout.strip()


@contextlib.contextmanager
def online(
    isolation: str,
    state: Path,
    rules: Rules,
    names: Names,
    workspace: Path | None = None,
    trust: Path | None = None,
) -> Iterator[Online]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mulligan.runtime.session.grant_network", lambda policy: Grant(rules))
        patch.setattr("mulligan.sandbox.egress.dialing.resolve", names)
        if trust is not None:
            patch.setenv("SSL_CERT_FILE", str(trust))
        with mulligan.open(workspace, isolation=isolation, state=state) as session:
            yield Online(session, rules, names)
