"""Twenty tasks in several steps, each with the replies of a model that solves it, and the answer.

A reply that is a function gets what the model was told, and acts on it: what it needs is nowhere else.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .world import World

Reply = str | Callable[[str], str]


@dataclass(frozen=True)
class Task:
    name: str
    text: str
    replies: tuple[Reply, ...]
    answer: Any
    #: what must have become of the world
    left: Callable[[World], bool] = field(default=lambda world: True)


def seen(pattern: str, reply: str) -> Callable[[str], str]:
    """A reply with what the pattern found in what the model was told."""

    def act(told: str) -> str:
        found = re.search(pattern, told)
        assert found is not None, told
        return reply.replace("SEEN", found[1])

    return act


MESSAGES = (
    Task(
        "a message that was turned round and moved",
        "Decode 'uryyb jbeyq' moved by 13, then turned round.",
        (
            "plain = shift('uryyb jbeyq', 13)\nprint(plain)",
            "final_answer(reverse(plain))",
        ),
        "dlrow olleh",
    ),
    Task(
        "the key is in the message",
        "The first byte of the hex 2a 42 4f 46 46 45 is the key of the others (XOR). What does it say?",
        (
            "data = from_hex('2a424f464645')\nprint(data[0], len(data))",
            seen(r"\n(\d+) 6\n", "text = xor(data[1:], bytes([SEEN])).decode()\nprint(text)"),
            "final_answer(text)",
        ),
        "hello",
    ),
    Task(
        "the shift that nobody knows",
        "'Wkh vhfuhw lv eoxh' was moved by some number. Which number brings it back, and which word is last?",
        (
            "tries = {n: shift('Wkh vhfuhw lv eoxh', -n) for n in range(26)}\n"
            "found = [n for n, text in tries.items() if 'secret' in text]\nprint(found)",
            seen(r"\n\[(\d+)\]\n", "n = SEEN\nword = tries[n].split()[-1]"),
            "final_answer({'shift': n, 'word': word})",
        ),
        {"shift": 3, "word": "blue"},
    ),
    Task(
        "letters out of a file",
        "Write ten words to words.txt, one a line, then read the first letter of each, reversed.",
        (
            "words = 'sun even crow red even tree tap ink rye ear'.split()\n"
            "open('words.txt', 'w').write('\\n'.join(words))",
            "firsts = ''.join(line[0] for line in open('words.txt'))\nprint(firsts)",
            "final_answer((reverse(firsts), len(firsts)))",
        ),
        ("eritterces", 10),
    ),
)

TRADES = (
    Task(
        "the share that rose the most",
        "Wait until day 4. Which share has gained the most since day 0, in per cent?",
        (
            "while wait() < 4: pass\ngains = {}",
            "for name in ('ADA', 'BEE', 'CAT'):\n    gains[name] = (price(name) / price(name, 0) - 1) * 100\nprint(gains)",
            "best = max(gains, key=gains.get)\nfinal_answer([best, round(gains[best], 1)])",
        ),
        ["ADA", 40.0],
        lambda world: world.day == 4,
    ),
    Task(
        "buy low and sell high",
        "Buy 50 ADA on day 2 and sell them on day 3. How much cash is there?",
        (
            "wait(); wait()\nprint(buy('ADA', 50))",
            seen(r"\n([\d.]+)\n", "assert account()['cash'] == SEEN\nwait()\ncash = sell('ADA', 50)"),
            "final_answer(cash)",
        ),
        1298.0,
        lambda world: world.shares == {"ADA": 0},
    ),
    Task(
        "as many as the money buys",
        "Buy as many BEE as the cash allows on the first day that they cost at most 90. How many?",
        (
            "while price('BEE') > 90: wait()\nprint(account()['day'])",
            "buy('BEE', 100)",
            seen(
                r"ValueError: [\d.]+ is more than ([\d.]+)",
                "count = int((SEEN - 1) // price('BEE'))\nbuy('BEE', count)",
            ),
            "final_answer(count)",
        ),
        11,
        lambda world: world.shares == {"BEE": 11} and world.day == 1,
    ),
    Task(
        "the best pair of days",
        "On which days should CAT have been bought and sold, and what is the gain of one?",
        (
            "while wait() < 4: pass\ncourse = [price('CAT', day) for day in range(5)]\nprint(course)",
            "pairs = [(course[b] - course[a], a, b) for a in range(5) for b in range(a + 1, 5)]\ngain, a, b = max(pairs)",
            "final_answer((a, b, gain))",
        ),
        (0, 2, 1.5),
    ),
)

ITINERARIES = (
    Task(
        "the cheapest way with a change",
        "What is the cheapest way from Oslo to Rome with one change, and what does it cost?",
        (
            "routes = [(a.price + b.price, a.to) for a in flights('Oslo') for b in flights(a.to)\n"
            "          if b.to == 'Rome' and b.leaves >= a.lands]\nprint(sorted(routes))",
            "cost, via = min(routes)",
            "final_answer({'via': via, 'cost': cost})",
        ),
        {"via": "Berlin", "cost": 180.0},
    ),
    Task(
        "a night in a good hotel",
        "Find the cheapest hotel in Rome with a rating of 4 at least, and three nights in it.",
        (
            "found = hotels('Rome')\nprint(found)",
            "good = {name: price for name, (price, rating) in found.items() if rating >= 4}\nbest = min(good, key=good.get)",
            "final_answer([best, good[best] * 3])",
        ),
        ["Sole", 240.0],
    ),
    Task(
        "everywhere by nightfall",
        "Which cities can be reached from Oslo by 21, changes allowed?",
        (
            "def reach(city, hour):\n    found = set()\n    for each in flights(city):\n"
            "        if each.leaves >= hour and each.lands <= 21:\n"
            "            found |= {each.to} | reach(each.to, each.lands)\n    return found",
            "cities = reach('Oslo', 0)\nprint(sorted(cities))",
            "final_answer(cities)",
        ),
        {"Berlin", "Paris", "Rome", "Lisbon", "Athens"},
    ),
    Task(
        "a journey within a budget",
        "Oslo to Lisbon by any way, and one night there, for at most 360. Write it to plan.txt; how much is left?",
        (
            "import heapq\nways = []\ndef go(city, hour, cost, path):\n    if city == 'Lisbon': ways.append((cost, path))\n"
            "    for each in flights(city):\n        if each.leaves >= hour:\n"
            "            go(each.to, each.lands, cost + each.price, path + [each.to])\ngo('Oslo', 0, 0.0, ['Oslo'])\nprint(min(ways))",
            "cost, path = min(ways)\nname, (price, _) = min(hotels('Lisbon').items(), key=lambda item: item[1])\n"
            "open('plan.txt', 'w').write(' > '.join(path) + ' ' + name)",
            "print(open('plan.txt').read())",
            "final_answer((open('plan.txt').read(), 360 - cost - price))",
        ),
        ("Oslo > Berlin > Rome > Lisbon Mar", 15.0),
    ),
)

WEBSITE = (
    Task(
        "a name two links away",
        "Who founded the shop?",
        (
            "import re\nprint(visit('/'))",
            seen(r"href='(/about)'", "page = visit('SEEN')\nfounder = re.search('<b>(.*?)</b>', page)[1]"),
            "final_answer(founder)",
        ),
        "Mira Olsen",
    ),
    Task(
        "a code in pieces",
        "What is the code of the month in the terms?",
        (
            "import re\nlinks = re.findall(\"href='(.*?)'\", visit('/about'))\nprint(links)",
            seen(
                r"\['(.*?)'\]",
                "raw = re.search('<i>(.*)</i>', visit('SEEN'))[1]\ncode = re.sub('<.*?>', '', raw)",
            ),
            "final_answer(code)",
        ),
        "XK-77",
    ),
    Task(
        "all pages of a list",
        "What do all lamps cost together that are in stock?",
        (
            "import re\npath, items = '/lamps?page=1', []\nwhile path:\n    page = visit(path)\n"
            "    items += re.findall(\"href='(/item/.*?)'\", page)\n"
            "    more = re.search(\"rel='next' href='(.*?)'\", page)\n    path = more and more[1]\nprint(items)",
            "total = 0\nfor item in items:\n    page = visit(item)\n    print(page)\n    if 'in stock' in page:\n"
            '        total += float(re.search("price\'>(.*?)<", page)[1])',
            "final_answer(total)",
        ),
        109.5,
    ),
    Task(
        "a page that is not there",
        "How many of the items 1 to 6 exist?",
        (
            "visit('/item/5')",
            seen(
                r"(KeyError)",
                "there = []\nfor n in range(1, 7):\n    try:\n        visit(f'/item/{n}')\n    except SEEN:\n"
                "        continue\n    there.append(n)\nprint(there)",
            ),
            "final_answer(len(there))",
        ),
        4,
    ),
)

WAREHOUSE = (
    Task(
        "what can be built",
        "A chair needs 4 bolts and 4 nuts, a table 8 bolts and 16 washers. How many of each, if only it is built?",
        (
            "import asyncio\nparts = ['bolt', 'nut', 'washer']\n"
            "have = dict(zip(parts, await asyncio.gather(*map(count, parts))))\nprint(have)",
            "needs = {'chair': {'bolt': 4, 'nut': 4}, 'table': {'bolt': 8, 'washer': 16}}\n"
            "most = {name: min(have[part] // n for part, n in each.items()) for name, each in needs.items()}",
            "final_answer(most)",
        ),
        {"chair": 3, "table": 5},
    ),
    Task(
        "an order that cannot be filled",
        "Take 10 screws; where there are too few, leave a note that says how many there are, and take 10 nuts instead.",
        (
            "take('screw', 10)",
            seen(r"LookupError: (screw: \d+ of \d+)", "note('SEEN')\nleft = take('nut', 10)\nprint(left)"),
            "final_answer(left)",
        ),
        5,
        lambda world: world.notes == ["screw: 0 of 10"] and world.stock["nut"] == 5,
    ),
    Task(
        "a table in a file",
        "Write the stock to stock.csv, read it back, and sum what is at least 15 of a kind.",
        (
            "import csv\nparts = ['bolt', 'nut', 'screw', 'washer']\nrows = [(each, await count(each)) for each in parts]\n"
            "with open('stock.csv', 'w', newline='') as file:\n    csv.writer(file).writerows([('part', 'count'), *rows])",
            "with open('stock.csv') as file:\n    table = list(csv.DictReader(file))\nprint(table)",
            "total = sum(n for row in table if (n := int(row['count'])) >= 15)",
            "final_answer(total)",
        ),
        175,
    ),
    Task(
        "the day that it runs out",
        "Each day from 2024-02-27 on 7 bolts are taken. On which date are there too few? Take them.",
        (
            "import datetime\nday = datetime.date(2024, 2, 27)\nstay = await count('bolt')",
            "try:\n    while True:\n        stay = take('bolt', 7)\n        day += datetime.timedelta(days=1)\n"
            "except LookupError as error:\n    print(error)",
            seen(r"bolt: (\d+) of 7", "assert stay == SEEN"),
            "final_answer(day)",
        ),
        datetime.date(2024, 3, 3),
        lambda world: world.stock["bolt"] == 5,
    ),
)

TASKS = (*MESSAGES, *TRADES, *ITINERARIES, *WEBSITE, *WAREHOUSE)
