"""What a session does with a library: it imports, searches and keeps; and what it may not use, it is told why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import mulligan
from mulligan import Session
from mulligan.policies.loading import parse_policy
from mulligan.runtime.errors import NoLibrary
from mulligan.runtime.ledger import Ledger
from mulligan.runtime.library.contract import Contract, Needs
from mulligan.runtime.library.errors import RoutineRefused
from mulligan.runtime.library.routine import make_routine
from mulligan.runtime.library.shelf import Shelf

POLICY = """
library:
  - allow: "*"
  - deny: drop_*
    because: nothing is dropped here
network:
  - allow: GET docs.example/**
"""
TEXTS = {
    "slugify": (
        'def slugify(text: str) -> str:\n    """Make a slug of a title."""\n'
        '    return text.strip().lower().replace(" ", "-")\n'
    ),
    "title_slug": "from actions import slugify\ndef title_slug(a, b):\n    return slugify(a) + '/' + slugify(b)\n",
    "in_turn": "from actions import never_there\ndef in_turn(a):\n    return never_there(a)\n",
    "reads_docs": "def reads_docs(page):\n    return page\n",
    "sends_mail": "def sends_mail(to):\n    return to\n",
    "drop_table": "def drop_table(name):\n    return name\n",
    "bad_apple": "def bad_apple(x):\n    return x\n",
    "half_done": "def half_done(x):\n    return x\n",
    "needs_more": "import not_there_at_all\ndef needs_more(x):\n    return not_there_at_all.f(x)\n",
    "Money": "from dataclasses import dataclass\n@dataclass\nclass Money:\n    cents: int\n",
}
NEEDS = {"reads_docs": "GET docs.example/a/**", "sends_mail": "POST mail.example/**"}
ROUTINES = {"title_slug": ("slugify",), "in_turn": ("never_there",)}


def fill(folder: Path, state: Path) -> None:
    with Shelf.open(folder, state, create=True) as shelf:
        for name, text in TEXTS.items():
            needs = Needs(network=(NEEDS[name],) if name in NEEDS else ())
            contract = Contract(name=name, needs=needs, routines=ROUTINES.get(name, ()))
            shelf.propose(make_routine(contract, text))
            if name != "half_done":
                shelf.trust(name, "by a test", "")
        shelf.quarantine("bad_apple", "it lies")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("use")
    fill(work / "shelf", work / "state")
    (work / "folder").mkdir()
    (work / "folder" / "actions.py").write_text("def slugify(text):\n    return 'planted'\n")
    return work


@pytest.fixture(scope="module")
def opened(isolation: str, work: Path) -> Iterator[Session]:
    with mulligan.open(
        work / "folder",
        isolation=isolation,
        state=work / "state",
        policy=parse_policy(POLICY),
        library=work / "shelf",
    ) as session:
        yield session


@pytest.fixture
def session(opened: Session) -> Session:
    opened.reset()
    return opened


def said(session: Session, code: str) -> str:
    return session.run(code).outcome.text


def test_a_trusted_routine_is_imported_with_those_that_it_needs(session: Session) -> None:
    assert said(session, "from actions import title_slug\nprint(title_slug('A b', 'C'))") == "a-b/c"
    assert said(session, "import actions\nprint(actions.slugify('X Y'))") == "x-y"


def test_a_file_of_the_workspace_does_not_pass_for_the_library(session: Session) -> None:
    assert (
        said(session, "print(open('actions.py').read()[:3]); import actions; print(actions.slugify('A b'))")
        == "def\na-b"
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("half_done", "it is a candidate"),
        ("bad_apple", "it is quarantined: it lies"),
        ("drop_table", "nothing is dropped here"),
        ("sends_mail", "it needs 'POST mail.example/**' under network, which the policy does not allow"),
        ("in_turn", "it needs the routine 'never_there', which cannot be used: no shelf has it"),
        ("slugifies", "no routine 'slugifies'; near to it are slugify"),
        ("needs_more", "needs the package 'not_there_at_all', which this sandbox lacks"),
    ],
)
def test_what_may_not_be_used_is_not_there_and_says_why(session: Session, name: str, why: str) -> None:
    outcome = session.run(f"from actions import {name}").outcome
    assert outcome.error is not None and outcome.error.name == "ImportError"
    assert why in outcome.error.value
    if name != "needs_more":
        assert (
            said(session, f"import actions; print(hasattr(actions, {name!r}), {name!r} in dir(actions))")
            == "False False"
        )


def test_of_what_may_not_be_used_the_sandbox_has_no_text(session: Session) -> None:
    asked = "open('/opt/mulligan/library/actions/routines.db', 'rb').read()"
    assert said(
        session, f"data = {asked}; print(b'replace(' in data, b'return name' in data, b'it lies' in data)"
    ) == ("True False True")


def test_nothing_inside_can_write_to_it(session: Session) -> None:
    for path in ("/opt/mulligan/library/actions/routines.db", "/opt/mulligan/library/actions/new.py"):
        assert session.run(f"open({path!r}, 'a').write('x')").outcome.kind == "raised"


def test_what_it_needs_and_the_policy_allows_may_be_used(session: Session) -> None:
    assert said(session, "from actions import reads_docs\nprint(reads_docs(3))") == "3"


def test_instances_of_its_classes_can_be_pickled_and_its_tracebacks_show_its_text(session: Session) -> None:
    code = "import pickle\nfrom actions import Money, slugify\nprint(pickle.loads(pickle.dumps(Money(3))))"
    assert said(session, code) == "Money(cents=3)"
    assert "return text.strip().lower()" in said(session, "from actions import slugify\nslugify(3)")


def test_a_search_inside_gives_signatures_of_what_may_be_used_and_nothing_where_nothing_fits(
    session: Session,
) -> None:
    found = said(
        session, "import actions; print(actions.search('make a slug'), actions.search('drop a table'))"
    )
    assert found == "[def slugify(text: str) -> str  # Make a slug of a title., def title_slug(a, b)] []"
    assert (
        said(session, "import actions; print(actions.search('quantum fish'), actions.search(''))") == "[] []"
    )
    assert "return text.strip()" in said(session, "print(__import__('actions').source('slugify'))")


def test_a_search_outside_says_of_each_why_it_may_not_be_used(session: Session) -> None:
    found, _ = session.library.search("make a slug")
    assert (found.name, found.why) == ("slugify", "")
    (found,) = session.library.search("sends mail")
    assert "POST mail.example/**" in found.why
    assert session.library.search("quantum fish") == ()


def test_the_policy_no_longer_says_that_nothing_carries_its_library_out(session: Session) -> None:
    assert session.ungranted == ()


def test_the_text_is_that_of_when_the_session_was_opened(isolation: str, tmp_path: Path) -> None:
    fill(tmp_path / "shelf", tmp_path / "state")
    with mulligan.open(isolation=isolation, state=tmp_path / "state", library=tmp_path / "shelf") as session:
        with Shelf.open(tmp_path / "shelf", tmp_path / "state") as shelf:
            changed = TEXTS["slugify"].replace("lower", "upper")
            shelf.propose(make_routine(Contract(name="slugify"), changed))
            shelf.trust("slugify", "by a test", "")
            shelf.retire("Money")
        assert said(session, "from actions import Money, slugify\nprint(slugify('A b'))") == "a-b"


# -- keeping ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keeper(
    any_isolation: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Session, Path, Path]]:
    work = tmp_path_factory.mktemp("keep")
    fill(work / "other", work / "state")
    shelves = (work / "shelf", work / "other")
    with mulligan.open(isolation=any_isolation, state=work / "state", library=shelves) as session:
        yield session, work / "shelf", work / "state"


@pytest.fixture
def keeping(keeper: tuple[Session, Path, Path]) -> tuple[Session, Path, Path]:
    keeper[0].reset()
    return keeper


def candidates(folder: Path, state: Path) -> list[tuple[str, int]]:
    with Shelf.open(folder, state) as shelf:
        return [(row.name, row.version) for row in shelf.rows("candidates")]


COUNT = "def count_words(text):\n    return len(text.split()) + 0\nprint(count_words('a b'))\n"


def test_what_a_step_made_is_a_candidate_with_whence_it_came(keeping: tuple[Session, Path, Path]) -> None:
    session, folder, state = keeping
    step = session.run(COUNT + "def _small(x): return x\nrows = [1]\n")
    kept = session.library.keep(tags=["text"], model="m-1", prompt="abc")
    assert kept.refused.keys() == {"_small"}
    with Shelf.open(folder, state) as shelf:
        contract = shelf.get("count_words").contract
    assert (contract.provenance.session, contract.provenance.step) == (session.id, step.id)
    assert (contract.provenance.model, contract.provenance.prompt, contract.tags) == ("m-1", "abc", ("text",))
    assert [each.call for each in contract.examples] == ["count_words('a b')"]


def test_undoing_the_step_retracts_it_and_redoing_brings_it_back(keeping: tuple[Session, Path, Path]) -> None:
    session, folder, state = keeping
    session.run("x = 1")
    step = session.run(COUNT.replace("count_words", "count_parts").replace("+ 0", "+ 1"))
    (made,) = session.library.keep().routines
    assert ("count_parts", made.version) in candidates(folder, state)
    session.undo()
    assert ("count_parts", made.version) not in candidates(folder, state)
    with pytest.raises(RoutineRefused, match="was undone"):
        session.library.keep(step.id)
    session.redo()
    assert ("count_parts", made.version) in candidates(folder, state)
    session.goto(0)
    assert ("count_parts", made.version) not in candidates(folder, state)
    told = [(kind, body) for kind, body in _ledger(session) if kind in ("kept", "retracted")]
    assert [kind for kind, _ in told][-4:] == ["kept", "retracted", "kept", "retracted"]
    assert all(body["routines"] == [f"count_parts {made.version}"] for _, body in told[-4:])


def _ledger(session: Session) -> list[tuple[str, dict[str, object]]]:
    with Ledger.open(session.folders.ledger) as ledger:
        return [(each.kind, dict(each.body)) for each in ledger.entries()]


def test_what_is_there_already_or_would_hide_another_is_not_kept(keeping: tuple[Session, Path, Path]) -> None:
    session, _, _ = keeping
    again = (
        TEXTS["slugify"].replace("slugify", "make_slug").replace("Make a slug of a title.", "Other words.")
    )
    session.run(again + "def slugify(text):\n    return 'https://evil.example/' + text + str(len(text))\n")
    refused = session.library.keep().refused
    assert refused["make_slug"] == "is there already, as 'slugify'"
    assert "would hide the routine of that name" in refused["slugify"]


def test_a_step_that_failed_gives_nothing_and_a_name_that_is_not_made_is_refused(
    keeping: tuple[Session, Path, Path],
) -> None:
    session, _, _ = keeping
    step = session.run(COUNT + "1 / 0")
    with pytest.raises(RoutineRefused, match="did not complete: it is raised"):
        session.library.keep(step.id)
    step = session.run(
        "df = [1]\ndef first_of(n):\n    return df[0] + n * 2\n" + "import os; df = os.listdir()"
    )
    with pytest.raises(RoutineRefused, match="session's variable 'df'"):
        session.library.keep(step.id, "first_of")
    with pytest.raises(RoutineRefused, match="no function or class"):
        session.library.keep(step.id, "third_of")


def test_steps_are_kept_by_themselves_where_that_is_wanted(keeping: tuple[Session, Path, Path]) -> None:
    session, folder, state = keeping
    session.library.automatic = True
    try:
        session.run(COUNT.replace("count_words", "count_alone").replace("+ 0", "+ 7"))
        session.run("1 / 0")
    finally:
        session.library.automatic = False
    session.usage()  # in turn, after them
    assert "count_alone" in {name for name, _ in candidates(folder, state)}


def test_a_session_without_a_library_says_how_it_gets_one(any_isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=any_isolation, state=tmp_path) as session:
        with pytest.raises(NoLibrary, match="library=FOLDER"):
            session.library.search("x")
        assert session.run("import actions").outcome.error is not None
