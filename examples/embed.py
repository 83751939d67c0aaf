"""Mulligan in a program of one's own: run, look, undo, commit."""

from __future__ import annotations

import tempfile
from pathlib import Path

import mulligan


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        prices = Path(folder, "prices.csv")
        prices.write_text("apple,3\npear,4\n")

        with mulligan.open(workspace=folder) as session:
            step = session.run(
                "prices = dict(line.strip().split(',') for line in open('prices.csv'))\nprices"
            )
            print(f"step {step.id} {step.outcome.kind}: {step.outcome.text}")

            step = session.run("prices.clear(); open('prices.csv', 'w').close()")
            print(f"step {step.id} changed:", *step.changes)

            back = session.undo()
            print(f"undone in {back.duration * 1000:.0f} ms; what still stands: {back.stands or 'nothing'}")
            print("memory again:", session.run("prices").outcome.text)

            session.run("open('total.txt', 'w').write(str(sum(map(int, prices.values()))))")
            print("the folder before commit:", sorted(path.name for path in Path(folder).iterdir()))
            session.commit()
        print("the folder after commit: ", sorted(path.name for path in Path(folder).iterdir()))
        print("total.txt:", Path(folder, "total.txt").read_text())


if __name__ == "__main__":
    main()
