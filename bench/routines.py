"""A library that is made up, and questions about it whose answers are known.

Each routine does one thing to one kind of object from one kind of source: 25 x 40 x 10. Its name has one word for what
it does, its docstring another, as people write them. A question names the same thing, object and source in a sentence:
with the word of the name, with that of the docstring, or with another form of either (sorting, sorted); every tenth
names one object, the others several. What no routine is about is asked as well: nothing is the answer to that.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

#: what it does: the word in the name, the word in the docstring, another form of either
VERBS = (
    ("load", "read", "reading"), ("save", "write", "writing"), ("sort", "order", "sorted"),
    ("merge", "combine", "merging"), ("filter", "select", "filtered"), ("count", "tally", "counting"),
    ("plot", "draw", "plotting"), ("split", "divide", "splitting"), ("clean", "tidy", "cleaning"),
    ("parse", "interpret", "parsing"), ("validate", "check", "validating"), ("convert", "turn", "converting"),
    ("download", "fetch", "downloaded"), ("rename", "relabel", "renaming"), ("summarise", "describe", "summarised"),
    ("group", "bundle", "grouping"), ("drop", "remove", "dropped"), ("resample", "bin", "resampling"),
    ("encode", "encrypt", "encoding"), ("compare", "contrast", "comparing"), ("rank", "score", "ranking"),
    ("cluster", "partition", "clustering"), ("normalise", "rescale", "normalised"), ("impute", "fill", "imputing"),
    ("publish", "release", "publishing"),
)  # fmt: skip
_OBJECTS = (
    "invoice customer order shipment temperature rainfall price salary patient protein galaxy tweet photo song "
    "recipe ticket employee vehicle parcel sensor contract payment book flight hotel river earthquake molecule "
    "student exam vote budget tax loan match player goal volcano tree bird"
)
OBJECTS = _OBJECTS.split()
SOURCES = ("csv", "excel", "json", "parquet", "sqlite", "html", "xml", "yaml", "pdf", "log")
#: about what no routine is
FOREIGN = (
    "compose a sonnet about autumn leaves", "which wine goes with oysters", "solve quadratic equation roots",
    "translate greek into swahili", "tune a guitar by ear", "launch rockets to mars", "knit a woollen scarf",
    "diagnose engine knocking noise", "negotiate peace treaty", "prove the pythagorean theorem",
    "bake sourdough bread", "orbit mechanics of comets", "teach dogs to sit", "paint watercolour landscapes",
    "repair leaking kitchen faucet", "quantum chromodynamics lattice", "choreograph a ballet", "moon phase tonight",
    "crossword clue seven letters", "haiku generator",
)  # fmt: skip


class Made(NamedTuple):
    name: str
    text: str


class Question(NamedTuple):
    text: str
    answer: str


def name_of(verb: int, thing: int, source: int) -> str:
    return f"{VERBS[verb][0]}_{OBJECTS[thing]}_{SOURCES[source]}"


def routines(count: int) -> Iterator[Made]:
    """The first so many, of 10,000."""
    total = len(VERBS) * len(OBJECTS) * len(SOURCES)
    for number in range(min(count, total)):
        verb, thing, source = number % 25, number // 25 % 40, number // 1000
        name = name_of(verb, thing, source)
        text = (
            f"def {name}(path: str, limit: int = {number}) -> list[dict[str, object]]:\n"
            f'    """{VERBS[verb][1].title()} {OBJECTS[thing]}s from a {SOURCES[source]} file."""\n'
            f"    rows = open(path).read().splitlines()\n"
            f"    return [{{'{OBJECTS[thing]}': row, 'at': at}} for at, row in enumerate(rows[:limit])]\n"
        )
        yield Made(name, text)


def questions(count: int, of: int) -> list[Question]:
    """So many, about the first `of` routines."""
    chance = random.Random(7)
    asked = []
    for number, place in enumerate(chance.sample(range(of), min(count, of))):
        verb, thing, source = place % 25, place // 25 % 40, place // 1000
        word = VERBS[verb][number % 3]
        noun = OBJECTS[thing] + ("s" if number % 10 else "")
        forms = (
            f"{word} the {noun} in a {SOURCES[source]} file",
            f"I want a function for {word} {noun}, the source is {SOURCES[source]}",
            f"{noun} {SOURCES[source]} {word}",
            f"how do I {word} {SOURCES[source]} with {noun}?",
        )
        asked.append(Question(forms[number % 4], name_of(verb, thing, source)))
    return asked
