"""An agent cleans a messy CSV. It makes a mistake, sees it, and takes it back: file and variables are as before it.

With OPENAI_API_KEY (or another key) set, a model does it; without one a script stands in, without a network.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import mulligan
from mulligan.runtime.agent.events import Acted, Final, Thought, Undone
from mulligan.runtime.agent.scripted import at_hand

MESSY = """date;customer ;amount
2024-03-01; ACME;1.200,50
03/02/2024;acme ;99,90
2024-03-03;Nails Ltd.;n/a
2024-03-03;Nails Ltd.;n/a
2024-03-04;Bolt & Co;1.000,00
"""
TASK = """Clean sales.csv: dates as YYYY-MM-DD (03/02/2024 is the second of March), customers trimmed and in capitals,
amounts as numbers with a point, no row twice. Keep rows without an amount, with an empty one. Write it back with
commas, and answer with the sum of the amounts."""

SCRIPT = [
    "I look at the file first.\n```python\nprint(open('sales.csv').read())\n```",
    # the mistake: it drops the rows without an amount, and reads 03/02 as the third of February
    """```python
import csv, datetime
rows = list(csv.reader(open('sales.csv'), delimiter=';'))[1:]
clean = []
for date, customer, amount in rows:
    if amount == 'n/a': continue
    if '/' in date: date = datetime.datetime.strptime(date, '%d/%m/%Y').strftime('%Y-%m-%d')
    clean.append([date, customer.strip().upper(), float(amount.replace('.', '').replace(',', '.'))])
csv.writer(open('sales.csv', 'w')).writerows(clean)
print(open('sales.csv').read())
```""",
    "That lost Nails Ltd., the month is wrong, and the file is written over. I take it back.\n```python\nundo(1)\n```",
    """```python
import csv, datetime
rows = list(csv.reader(open('sales.csv'), delimiter=';'))
print(len(rows), 'rows are there again')
seen, clean = set(), []
for date, customer, amount in rows[1:]:
    if '/' in date: date = datetime.datetime.strptime(date, '%m/%d/%Y').strftime('%Y-%m-%d')
    number = '' if amount == 'n/a' else float(amount.replace('.', '').replace(',', '.'))
    row = (date, customer.strip().upper(), number)
    if row not in seen: clean.append(row)
    seen.add(row)
with open('sales.csv', 'w', newline='') as file:
    csv.writer(file).writerows([('date', 'customer', 'amount'), *clean])
print(open('sales.csv').read())
```""",
    "```python\nfinal_answer(sum(row[2] for row in clean if row[2] != ''))\n```",
]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sales.csv").write_text(MESSY)
        with mulligan.open(folder, tools=mulligan.agent_tools()) as session:
            agent = mulligan.Agent(session, model=at_hand(SCRIPT), budgets=mulligan.Budgets(turns=15))
            for event in agent.events(TASK):
                if isinstance(event, Thought):
                    print(f"  “{event.text}”")
                elif isinstance(event, Acted):
                    print(f"step {event.step.id}: {event.step.outcome.kind}", *event.step.changes)
                elif isinstance(event, Undone):
                    back = event.restoration
                    print(f"  back at step {back.step}, memory {back.memory}:", *back.restored)
                elif isinstance(event, Final):
                    print(f"{event.kind}: {event.value}  ({event.spent.turns} turns)")
            session.commit()
        print((folder / "sales.csv").read_text())


if __name__ == "__main__":
    main()
