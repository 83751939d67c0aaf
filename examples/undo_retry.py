"""An agent's loop: propose, run, look; a bad attempt is undone, so that the next one starts from clean ground.

The proposals are scripted here. In a real agent a model writes each after reading `seen`.
"""

from __future__ import annotations

import mulligan

TASK = "write the mean of the column 'b' of table.csv to mean.txt"
SETUP = "rows = ['a,b', '1,10', '2,x', '3,30']; open('table.csv', 'w').write('\\n'.join(rows))"
PROPOSALS = (
    # breaks the file it reads, then fails
    """lines = open('table.csv').read().split(); open('table.csv', 'w').close()
open('mean.txt', 'w').write(str(sum(float(line.split(',')[1]) for line in lines[1:]) / 3))""",
    # takes the process with it
    "import os; os.remove('table.csv'); os.abort()",
    # leaves out what is no number
    """lines = open('table.csv').read().split()[1:]
numbers = [float(b) for b in (line.split(',')[1] for line in lines) if b.isdigit()]
open('mean.txt', 'w').write(str(sum(numbers) / len(numbers)))""",
)


def main() -> None:
    print("task:", TASK)
    with mulligan.open() as session:
        ground = session.run(SETUP).id
        for proposal in PROPOSALS:
            step = session.run(mulligan.Action(proposal, proposer="script", why=TASK), timeout=20)
            seen = step.outcome.text.splitlines()
            print(f"step {step.id}: {step.outcome.kind}", *seen[-1:], sep="  ")
            if step.outcome.ok:
                break
            if session.timeline.cursor != ground:  # a step that killed the kernel is taken back already
                back = session.undo(to=ground)
                print("  undone:", *back.restored, *(f"stands: {line}" for line in back.stands))
        print("mean.txt:", session.run("print(open('mean.txt').read())").outcome.stdout.strip())
        print(session.timeline)


if __name__ == "__main__":
    main()
