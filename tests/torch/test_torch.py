"""A half-trained torch model comes back with undo, and goes on training exactly as it would have.

Bubblewrap only: there the sandbox's interpreter is the one that runs these tests, which has torch
(`make test-torch`). Our image has none, and a session never installs anything; the mechanism that matters here,
OpenMP's thread pool across a fork, is tested with scikit-learn in both isolations.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

import mulligan
from mulligan import Session, Step

pytestmark = pytest.mark.torch


@pytest.fixture
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    state = tmp_path_factory.mktemp("state")
    with mulligan.open(isolation="bubblewrap", python=sys.executable, state=state) as session:
        yield session


def run(session: Session, source: str) -> Step:
    step = session.run(source, timeout=100)
    assert step.outcome.kind == "completed", step.outcome.text
    return step


TRAINED = """
import hashlib, torch
torch.manual_seed(11)
X = torch.randn(4096, 64); y = (X[:, :8].prod(dim=1, keepdim=True) > 0).float()
model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(256, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
def train(steps):
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(X), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item().hex())
    return losses
def weights():
    return hashlib.sha256(b''.join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()
begun = train(5)
"""
GO_ON = "print(torch.get_num_threads(), weights(), train(5), weights(), torch.rand(2).tolist())"


def test_training_goes_on_with_identical_losses_after_undo(session: Session) -> None:
    made = run(session, TRAINED)
    truth = run(session, GO_ON).outcome.stdout
    session.undo(to=made.id)
    run(
        session,
        "for p in model.parameters(): torch.nn.init.zeros_(p)\ny.zero_(); torch.manual_seed(0); _ = train(3)",
    )
    assert run(session, GO_ON).outcome.stdout != truth
    for _ in range(2):
        back = session.undo(to=made.id)
        assert (back.memory, back.stands) == ("woken", ())
        assert run(session, GO_ON).outcome.stdout == truth


def test_a_graph_between_forward_and_backward_survives_undo(session: Session) -> None:
    made = run(session, TRAINED + "loss = model(X[:64]).square().mean()")
    gradients = "loss.backward(); print([p.grad.sum().item().hex() for p in model.parameters()])"
    truth = run(session, gradients).outcome.stdout
    session.undo(to=made.id)
    run(session, "loss.backward(); del loss; _ = train(1)")
    session.undo(to=made.id)
    assert run(session, gradients).outcome.stdout == truth


def test_a_step_that_trained_in_a_process_that_died_leaves_the_model_as_it_was(session: Session) -> None:
    run(session, TRAINED)
    before = run(session, "print(weights())").outcome.stdout
    lost = session.run("train(2); import os; os.abort()", timeout=100)
    assert lost.outcome.kind == "lost"
    assert run(session, "print(weights())").outcome.stdout == before
    assert len(run(session, "print(*train(3))").outcome.stdout.split()) == 3
