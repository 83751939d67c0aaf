"""What a process does between actions is judged with the next step, or with a restart of the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

import mulligan
from mulligan.policies.loading import parse_policy

LATER = """
import os, subprocess
subprocess.Popen(['python3', '-c', '''
import os, time
while not os.path.exists("/tmp/go"): time.sleep(0.01)
for n in range(9): os.remove(str(n))
open("/tmp/done", "w").close()
time.sleep(600)
'''])
"""
AWAIT = """
open('/tmp/go', 'w').close()
while not os.path.exists('/tmp/done'): pass
"""


@pytest.mark.parametrize("then", ["action", "restart"])
def test_what_a_process_deletes_between_actions_is_put_back(
    isolation: str, tmp_path: Path, then: str
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for n in range(9):
        (work / str(n)).write_text(str(n))
    policy = parse_policy("files: {per_action: {deletions: 2}}")
    with mulligan.open(work, isolation=isolation, state=tmp_path / "state", policy=policy) as session:
        assert session.run(LATER).outcome.ok
        if then == "action":
            outcome = session.run(AWAIT).outcome
            assert outcome.kind == "reverted" and "removed 9 files; the most is 2" in outcome.text
        else:
            for n in range(9):  # as that process could, between two actions
                (session.workspace / str(n)).unlink()
            session.restart()
        assert not session.diff()
        assert not session.commit().applied
        assert session.run(
            "import os; print(len(os.listdir()), os.path.exists('/tmp/done'))"
        ).outcome.stdout == ("9 False\n")
    assert sorted(path.name for path in work.iterdir()) == sorted(map(str, range(9)))
