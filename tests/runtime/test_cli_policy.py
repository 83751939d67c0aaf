"""`mulligan policy`, as real processes over real files."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from mulligan.policies.document import read_document
from mulligan.policies.errors import PolicyError
from mulligan.policies.loading import find_policy, find_text, parse_policy, preset_names

FILE = """\
extends: web-read
files:
  protect: ["data/raw/**"]
network:
  - allow: GET example.org/**
    because: prices are read there
    match: GET https://example.org/prices
  - deny: GET example.org/admin/**
    because: nobody needs the administration
    instead: read /prices
tools:
  - ask: send_invoice(to=*@example.org)
"""


def policy(*arguments: str, code: int, folder: Path, given: str = "") -> str:
    command = [sys.executable, "-m", "mulligan.runtime.cli", "policy", *arguments]
    ran = subprocess.run(
        command, input=given, capture_output=True, encoding="utf-8", timeout=60, check=False, cwd=folder
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.yaml").write_text(FILE)
    return tmp_path


def test_explaining_names_rule_place_reason_and_alternative(folder: Path) -> None:
    said = policy("explain", "p.yaml", "GET https://example.org/admin/x", code=1, folder=folder)
    assert said.startswith(
        "GET https://example.org/admin/x: deny\n"
        "  deny   p.yaml:8\n"
        "         network: deny GET example.org/admin/**\n"
        "         nobody needs the administration\n"
        "         instead: read /prices\n"
        "  allow  web-read:5\n"
        "         network: allow GET,HEAD */**, GET,HEAD http://*/**\n"
        "         pages may be read, and nothing may be sent\n"
        "  allow  p.yaml:5\n"
        "         network: allow GET example.org/**\n"
        "         prices are read there\n"
    )
    told = json.loads(policy("explain", "p.yaml", "delete data/b.csv", "--json", code=0, folder=folder))
    (answer,) = told["answers"]
    assert (answer["decision"], answer["asked"]) == ("allow", "delete data/b.csv")
    assert answer["limits"][0] == "files.per_action.deletions: 100  (analysis:7)"
    assert "depends on the request" in policy("explain", "p.yaml", "example.org", code=1, folder=folder)
    assert "write such as 'POST" in policy("explain", "p.yaml", "do something nice", code=2, folder=folder)


def test_a_decision_that_nothing_carries_out_yet_says_so(folder: Path) -> None:
    (folder / "held.yaml").write_text("tools:\n  - hold: send_invoice\n")
    assert "note    " in policy("explain", "held.yaml", "tool send_invoice()", code=1, folder=folder)
    (folder / "none.yaml").write_text("files: {protect: [a]}\n")
    assert "note    " not in policy("explain", "none.yaml", "delete b", code=0, folder=folder)
    assert policy("check", "none.yaml", code=0, folder=folder) == "none.yaml: a policy, with 0 rules\n"


def test_checking_tells_a_policy_from_what_is_none(folder: Path) -> None:
    assert "p.yaml: a policy, with 7 rules\n" in policy("check", "p.yaml", code=0, folder=folder)
    (folder / "bad.yaml").write_text("resources:\n  memroy: 2GiB\n")
    said = policy("check", "bad.yaml", code=2, folder=folder)
    assert "bad.yaml:2:3" in said and "did you mean 'resources.memory'?" in said
    told = json.loads(policy("check", "bad.yaml", "--json", code=2, folder=folder).splitlines()[0])
    assert told["type"] == "failure" and "bad.yaml:2:3" in told["message"]


def test_testing_tells_every_example_and_which_is_wrong(folder: Path) -> None:
    (folder / "t.yaml").write_text(
        "network:\n"
        "  - allow: GET example.org/**\n"
        "    match: [GET https://example.org/a, POST https://example.org/a]\n"
        "    not_match: [GET https://example.org/b, GET https://example.com/]\n"
        "    because: of reasons\n"
    )
    said = policy("test", "t.yaml", code=1, folder=folder)
    assert said.count("ok    t.yaml:") == 2 and said.count("FAIL  t.yaml:") == 2
    assert "match: POST https://example.org/a: the rule does not match it" in said
    assert "not_match: GET https://example.org/b: the rule matches it" in said
    assert "4 examples, 2 of them wrong" in said
    told = json.loads(policy("test", "t.yaml", "--json", code=1, folder=folder))
    assert [each["holds"] for each in told["examples"]] == [True, False, False, True]
    assert "1 example, and every one holds" in policy("test", "p.yaml", code=0, folder=folder)
    (folder / "bad.yaml").write_text("netwrok: []\n")
    assert "netwrok" in policy("test", "bad.yaml", code=2, folder=folder)


def test_presets_are_shown_as_they_are_written(tmp_path: Path) -> None:
    listed = policy("show", code=0, folder=tmp_path)
    assert [line.split()[0] for line in listed.splitlines()] == list(preset_names())
    assert policy("show", "coding", code=0, folder=tmp_path) == find_text("coding")[0]
    assert "4 examples, and every one holds" in policy("test", "coding", code=0, folder=tmp_path)
    assert "did you mean 'analysis'" in policy("show", "analysys", code=2, folder=tmp_path)


def test_nothing_of_a_file_acts_on_the_terminal(tmp_path: Path) -> None:
    name = "a\x1b[2J\u202e\n.yaml"
    (tmp_path / name).write_text(FILE.replace("prices are", "prices \u202e are"))
    for command in (
        ["explain", name, "GET https://example.org/"],
        ["test", name],
        ["check", name],
        ["show", name],
    ):
        said = policy(*command, code=0, folder=tmp_path)
        assert not set("\x1b\u202e") & set(said), command
        assert "\\u202e" in said, command
    assert "\x1b" not in policy("explain", name, "GET \x1b[2J", code=2, folder=tmp_path)


# -- the schema ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(policy("schema", code=0, folder=tmp_path_factory.mktemp("schema")))
    jsonschema.Draft202012Validator.check_schema(made)
    return made


def faults(schema: dict[str, Any], text: str) -> list[str]:
    data = json.loads(json.dumps(read_document(text, "p.yaml").plain()))
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(data)]


def test_the_schema_takes_every_preset_and_a_file_that_extends(schema: dict[str, Any]) -> None:
    for name in preset_names():
        assert faults(schema, find_text(name)[0]) == [], name
    assert faults(schema, FILE) == []
    assert faults(schema, "extends: [analysis, ./own.yaml]\nresources: {memory: 2 GiB, disk: 5000}\n") == []


@pytest.mark.parametrize(
    "text",
    [
        "extend: analysis\n",
        "extends: []\n",
        "widenable: [everything]\n",
        "resources: {memroy: 2GiB}\n",
        "resources: {memory: much}\n",
        "resources: {memory: 0}\n",
        "files: {per_action: {deletions: -1}}\n",
        "files: {per_action: {bytes: }}\n",
        "budgets: {deletions: }\n",
        "network:\n  - because: of nothing\n",
        "network:\n  - {allow: GET a.org/**, deny: GET b.org/**}\n",
        "network:\n  - {alow: GET a.org/**}\n",
        "on_violation: shrug\n",
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(
    schema: dict[str, Any], text: str, tmp_path: Path
) -> None:
    assert faults(schema, text) != []
    with pytest.raises(PolicyError):
        parse_policy(text)


# -- diff and init ---------------------------------------------------------------------------------------------


def test_two_policies_are_compared_with_what_was_judged(folder: Path) -> None:
    said = policy("diff", "web-read", "p.yaml", code=0, folder=folder)
    assert "p.yaml lets be done, and web-read does not" in said
    assert "network: GET https://example.org/admin/some-name: allow instead of deny" in said
    assert "files: change data/raw/some-name: allow instead of deny" in said
    assert "tools: send_invoice(to=some-name@example.org): ask instead of deny" in said
    told = json.loads(policy("diff", "p.yaml", "p.yaml", "--json", code=0, folder=folder))
    assert (told["more"], told["less"], told["undecided"]) == ([], [], [])


def test_a_file_is_written_out_of_flags_and_never_over_another(tmp_path: Path) -> None:
    flags = ["--protect", 'data/"raw"/**', "--read", "*.example.org", "--wall", "0.5"]
    policy("init", "new.yaml", *flags, code=0, folder=tmp_path)
    made = find_policy(tmp_path / "new.yaml")
    assert (made.files.protect, made.resources.wall) == (('data/"raw"/**',), 0.5)
    assert [rule.lines for rule in made.network] == [("GET,HEAD *.example.org/**",)]
    before = (tmp_path / "new.yaml").read_text()
    assert "is there already" in policy("init", "new.yaml", "--wall", "9", code=2, folder=tmp_path)
    assert (tmp_path / "new.yaml").read_text() == before


@pytest.mark.parametrize(
    "flags", [[], ["--extends", "locked", "--read", "a.org"], ["--read", "a.org/** b\n- allow"]]
)
def test_what_makes_no_policy_writes_no_file(tmp_path: Path, flags: list[str]) -> None:
    policy("init", "new.yaml", *flags, code=2, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_person_is_asked_until_the_answers_make_a_policy(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mulligan.runtime.cli", "policy", "init", "mine.yaml"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, cwd=tmp_path) as ran:
        os.close(theirs)
        os.write(ours, b"everything\nnone\n../up\ndata/raw/**, *.csv\na b\nexample.org\nsoon\n30\n")
        said, _ = ran.communicate(timeout=60)
    os.close(ours)
    assert ran.returncode == 0, said
    assert b"'everything' is none of them" in said and b"'soon' is no whole number" in said
    made = find_policy(tmp_path / "mine.yaml")
    assert made.files.protect == ("data/raw/**", "*.csv") and made.resources.wall == 30
    assert [rule.lines for rule in made.network] == [("GET,HEAD example.org/**",)]
