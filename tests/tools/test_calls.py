"""Functions of the host, called from inside a real sandbox as if they were there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NamedTuple

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict  # pydantic asks for it before Python 3.12

import mulligan
from mulligan import Session

CALLED: list[str] = []


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Line:
    """One line of an invoice."""

    article: str
    count: int = 1
    tags: list[str] = field(default_factory=list)


class Invoice(BaseModel):
    number: int
    lines: list[Line]
    due: date | None = None


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Found(TypedDict):
    title: str
    hits: int


class OutOfStock(LookupError):
    pass


def send_invoice(
    customer: str, lines: list[Line], *, due: date | None = None, net: Decimal = Decimal("0.19")
) -> Invoice:
    """Send an invoice.

    It goes out at once.
    """
    CALLED.append(customer)
    return Invoice(number=len(lines), lines=lines, due=due)


def same(value: Any) -> Any:
    return value


def rest(first: int, /, *more: int, scale: float = 1.0, **named: str) -> str:
    return f"{first} {more} {scale} {named}"


def paint(colour: Colour, how: Literal["thick", "thin"] = "thin") -> Colour:
    return Colour.BLUE if colour is Colour.RED else Colour.RED


def move(point: Point) -> Point:
    return Point(point.x + 1, point.y)


def search(query: str) -> list[Found]:
    return [{"title": query, "hits": 2}]


def fail(name: str) -> None:
    errors: dict[str, BaseException] = {
        "key": KeyError("k"),
        "file": FileNotFoundError(2, "No such file", "/etc/mulligan/customers.db"),
        "own": OutOfStock("no nails"),
        "exit": SystemExit(3),
        "unicode": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    }
    raise errors[name]


def wrong() -> int:
    return "many"  # type: ignore[return-value]


def unpackable() -> Any:
    return threading.Lock()


async def later(value: int) -> int:
    """Wait, then answer."""
    await asyncio.sleep(0)
    return value + 1


def where() -> str:
    return threading.current_thread().name


TOOLS = [send_invoice, same, rest, paint, move, search, fail, wrong, unpackable, later, where]

Printed = Callable[[str], Any]


def test_it_has_the_name_the_signature_and_the_docstring_that_it_has_outside(printed: Printed) -> None:
    source = """
import inspect, tools
from tools import send_invoice, later, rest, same
for each in (send_invoice, rest, later):
    print(each.__name__, inspect.signature(each), inspect.iscoroutinefunction(each))
print(inspect.getdoc(send_invoice))
print(dir(tools))
"""
    expected = [
        (
            "send_invoice (customer: str, lines: list[tools.Line], *, due: datetime.date | None = None, "
            "net: decimal.Decimal = Decimal('0.19')) -> tools.Invoice False"
        ),
        "rest (first: int, /, *more: int, scale: float = 1.0, **named: str) -> str False",
        "later (value: int) -> int True",
        "Send an invoice.\n\nIt goes out at once.",
    ]
    names = sorted(["Colour", "Found", "Invoice", "Line", "Point", *(each.__name__ for each in TOOLS)])
    assert printed(source) == "\n".join([*expected, str(names)])


def test_arguments_and_results_have_the_types_that_the_signature_promises(printed: Printed) -> None:
    CALLED.clear()
    source = """
import datetime, decimal
from tools import *
invoice = send_invoice("ACME", [Line("nails", 3), {"article": "wood"}], due=datetime.date(2030, 1, 2))
print(invoice)
print(type(invoice.due).__name__, invoice.lines[1].count, invoice.lines[0] == Line("nails", 3, tags=[]))
print(paint(Colour.RED) is Colour.BLUE, paint("blue") is Colour.RED, move(Point(1.0)), search("a")[0]["hits"])
print(rest(1, 2, 3, scale=2, a="b"))
"""
    assert printed(source).splitlines() == [
        (
            "Invoice(number=2, lines=[Line(article='nails', count=3, tags=[]), "
            "Line(article='wood', count=1, tags=[])], due=datetime.date(2030, 1, 2))"
        ),
        "date 1 True",
        "True True Point(x=2.0, y=0.0) 2",
        "1 (2, 3) 2.0 {'a': 'b'}",
    ]
    assert CALLED == ["ACME"]


VALUES = [
    (None, True, -5, 10**30, 0.5, "ä\ud800\x1b[0m", b"\x00\xff"),
    [float("inf"), {1: {2, 3}, "$": frozenset()}],
    {"$": "bytes", "v": 0},
    "long " * 2000,
    bytes(range(256)) * 1000,
    (date(2030, 1, 2), timedelta(days=-1, microseconds=3), Decimal("1.10")),
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_what_is_handed_over_comes_back_as_it_was(session: Session, value: object) -> None:
    source = f"""
import datetime
from datetime import date
from decimal import Decimal
from tools import same
inf = float("inf")
value = {value!r}
assert same(value) == value and type(same(value)) is type(value), same(value)
"""
    outcome = session.run(source).outcome
    assert outcome.kind == "completed", outcome.error


def test_an_exception_has_the_name_the_text_and_the_kind_that_it_has_outside(printed: Printed) -> None:
    source = """
import tools, traceback
for name in ("key", "file", "own", "exit", "unicode"):
    try:
        tools.fail(name)
    except Exception as error:
        print(type(error).__name__, "|", error, "|", [each.__name__ for each in type(error).__mro__[:3]])
        assert error.__cause__ is None and error.__context__ is None, name
try:
    tools.fail("own")
except tools.OutOfStock as error:
    print("caught by its name")
"""
    assert printed(source).splitlines() == [
        "KeyError | 'k' | ['KeyError', 'LookupError', 'Exception']",
        (
            "FileNotFoundError | [Errno 2] No such file: '(a path of the host)' | "
            "['FileNotFoundError', 'OSError', 'Exception']"
        ),
        "OutOfStock | no nails | ['OutOfStock', 'LookupError', 'Exception']",
        "SystemExit | 3 | ['SystemExit', 'Exception', 'BaseException']",
        (
            "UnicodeDecodeError | 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte | "
            "['UnicodeDecodeError', 'UnicodeError', 'ValueError']"
        ),
        "caught by its name",
    ]


def test_what_the_signature_does_not_take_or_promise_is_an_error_that_says_so(printed: Printed) -> None:
    CALLED.clear()
    source = """
from tools import *
import threading
for call in (
    lambda: send_invoice(), lambda: send_invoice("a", [], who=1), lambda: send_invoice("a", [{"article": 1}]),
    lambda: same(threading.Lock()), wrong, unpackable,
):
    try:
        print(call())
    except TypeError as error:
        print(error)
"""
    assert printed(source).splitlines() == [
        "send_invoice(): missing a required argument: 'customer'",
        "send_invoice(): got an unexpected keyword argument 'who'",
        "send_invoice(): lines[0]['article']: Input should be a valid string",
        "same(): a value of type lock cannot be handed to a tool",
        (
            "wrong() gave back what its signature does not promise: result: Input should be a valid integer, "
            "unable to parse string as an integer"
        ),
        "its result cannot be handed over: a value of type lock",
    ]
    assert CALLED == []


def test_it_is_called_from_threads_subprocesses_and_coroutines(printed: Printed) -> None:
    source = """
import asyncio, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from tools import later, same
with ThreadPoolExecutor(8) as pool:
    print(sum(pool.map(same, range(100))))
print(sum(await asyncio.gather(*(later(each) for each in range(50)))))
print(subprocess.run([sys.executable, "-c", "import tools; print(tools.same([1, 2]))"], cwd="/",
                     capture_output=True, text=True).stdout.strip())
"""
    assert printed(source).splitlines() == ["4950", "1275", "[1, 2]"]


def test_a_workspace_that_has_a_module_called_tools_does_not_take_its_place(session: Session) -> None:
    (session.workspace / "tools.py").write_text("def same(value): return 'another'\n")
    outcome = session.run("import tools; print(tools.same(1), tools.__file__)").outcome
    assert outcome.output.stdout.startswith("1 /opt/mulligan/")


def test_a_session_without_tools_has_no_package_of_that_name(any_isolation: str) -> None:
    with mulligan.open(isolation=any_isolation) as session:
        outcome = session.run("import tools").outcome
    assert outcome.kind == "raised" and outcome.error is not None
    assert outcome.error.name == "ModuleNotFoundError"


def test_coroutine_functions_run_on_the_loop_that_the_session_was_opened_on(any_isolation: str) -> None:
    seen: list[bool] = []

    async def own() -> str:
        await asyncio.sleep(0)
        seen.append(asyncio.get_running_loop() is loop)
        return "here"

    async def story() -> str:
        async with await mulligan.aopen(isolation=any_isolation, tools=[own]) as session:
            step = await session.run("from tools import own; print(await own())")
            return step.outcome.output.stdout

    loop = asyncio.new_event_loop()
    try:
        assert loop.run_until_complete(story()) == "here\n"
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    assert seen == [True]


def test_a_session_of_a_pool_has_the_pools_tools(any_isolation: str) -> None:
    with (
        mulligan.Pool(1, isolation=any_isolation, tools={"echo": same}, warm="import tools") as pool,
        pool.open() as session,
    ):
        assert session.run("print(tools.echo('a'))").outcome.output.stdout == "a\n"
