"""An agent refactors a small repository, and its test suite is the judge: what breaks it is undone as a whole, and the
agent tries again from clean ground. The tests themselves cannot be changed.

With OPENAI_API_KEY (or another key) set, a model does it; without one a script stands in, without a network.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import mulligan
from mulligan.runtime.agent.events import Acted, Final, Undone
from mulligan.runtime.agent.scripted import at_hand

REPOSITORY = {
    "prices.py": """def net(items):
    total = 0
    for item in items:
        if item["count"] > 10:
            total = total + item["price"] * item["count"] * 0.9
        else:
            total = total + item["price"] * item["count"]
    return round(total, 2)


def gross(items):
    total = 0
    for item in items:
        if item["count"] > 10:
            total = total + item["price"] * item["count"] * 0.9
        else:
            total = total + item["price"] * item["count"]
    return round(total * 1.2, 2)
""",
    "tests/test_prices.py": """import unittest
import prices


class Prices(unittest.TestCase):
    ITEMS = [{"price": 1.1, "count": 10}, {"price": 0.99, "count": 11}]

    def test_net(self):
        self.assertEqual(prices.net(self.ITEMS), 20.8)

    def test_gross(self):
        self.assertEqual(prices.gross(self.ITEMS), 24.96)

    def test_nothing(self):
        self.assertEqual(prices.gross([]), 0)
""",
}
TASK = (
    "Take out what is written twice in prices.py. What it computes must stay the same: tests/ has the tests."
)
JUDGE = "python -B -m unittest discover -q -s tests"  # -B: a cache beside the tests would be a change of them

#: the first attempt gives the discount from ten on, as `> 10` is easily misread
ATTEMPT = '''```python
open('prices.py', 'w').write("""RATE, DISCOUNT, MANY = 1.2, 0.9, 10


def _cost(item):
    cost = item["price"] * item["count"]
    return cost * DISCOUNT if item["count"] {than} MANY else cost


def net(items):
    return round(sum(map(_cost, items)), 2)


def gross(items):
    return round(sum(map(_cost, items)) * RATE, 2)
""")
final_answer("what was written twice is in _cost")
```'''
SCRIPT = [
    "```python\nprint(open('prices.py').read(), open('tests/test_prices.py').read())\n```",
    ATTEMPT.replace("{than}", ">="),
    ATTEMPT.replace("{than}", ">"),
]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, text in REPOSITORY.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text)
        with mulligan.open(folder, tools=mulligan.agent_tools(), protect=["tests/**"]) as session:
            agent = mulligan.Agent(session, model=at_hand(SCRIPT), judge=JUDGE, attempts=5)
            for event in agent.events(TASK):
                if isinstance(event, Acted):
                    print(f"step {event.step.id}: {event.step.outcome.kind}", *event.step.changes)
                elif isinstance(event, Undone):
                    print(f"  {event.why}: back at step {event.restoration.step}, ", end="")
                    print(*event.restoration.restored)
                elif isinstance(event, Final):
                    print(f"{event.kind}: {event.value or event.why}")
                    if event.ok:
                        session.commit()
        print(f"prices.py has {len((folder / 'prices.py').read_text().splitlines())} lines, and had 18")


if __name__ == "__main__":
    main()
