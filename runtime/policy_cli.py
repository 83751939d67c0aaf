"""`mulligan policy`: `check`, `show`, `explain`, `test`, `diff`, `schema` and `init`. Nothing of a file acts on the
terminal; with `--json`, one object on standard output.

Exit codes, where they are not those of cli.py
    check    0 the file is a policy, 2 it is none
    explain  0 what was asked is allowed as it stands, 1 it is held, asked about, denied, or depends on the request
    test     0 every example holds, 1 one does not
    diff     0, whatever was found
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from mulligan.policies.comparing import compare
from mulligan.policies.decision import Decision
from mulligan.policies.errors import PolicyError
from mulligan.policies.examples import Example, examples_of
from mulligan.policies.explaining import Answer, explain
from mulligan.policies.loading import find_policy, find_text, preset_names
from mulligan.policies.paths import limits_on
from mulligan.policies.policy import RULES, Policy
from mulligan.policies.schema import schema
from mulligan.runtime.grants import check_enforced, ungranted
from mulligan.sandbox.printable import escaped, one_line

DONE, NO = 0, 1
_NAME = "a policy file in YAML, or the name of a preset"


def _check(chosen: argparse.Namespace) -> int:
    policy = find_policy(chosen.policy)
    rules = sum(len(policy.layers(name)[0]) for name in RULES)
    if chosen.json:
        _object(
            policy=chosen.policy, valid=True, rules=rules, ungranted=ungranted(policy), unheld=_unheld(policy)
        )
        return DONE
    _line(f"{chosen.policy}: a policy, with {_count(rules, 'rule')}")
    for said in _not_yet(policy):
        _line(f"  {said}")
    return DONE


def _show(chosen: argparse.Namespace) -> int:
    if chosen.policy is None:
        for name in preset_names():
            _line(f"{name:<10} {about(find_text(name)[0])}")
        return DONE
    text, _ = find_text(chosen.policy)
    print(escaped(text), end="" if text.endswith("\n") else "\n")
    return DONE


def about(text: str) -> str:
    """The first sentence of the remark that a policy begins with."""
    remarks = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return " ".join(line.lstrip("# ") for line in remarks).partition(". ")[0].rstrip(".")


def _schema(chosen: argparse.Namespace) -> int:
    print(json.dumps(schema(), indent=2))
    return DONE


# -- explain ---------------------------------------------------------------------------------------------------


def _explain(chosen: argparse.Namespace) -> int:
    policy = find_policy(chosen.policy)
    answers = explain(policy, chosen.question)
    if chosen.json:
        _object(policy=chosen.policy, answers=[_record(policy, answer) for answer in answers])
    else:
        for answer in answers:
            say(policy, answer)
    return DONE if all(answer.allowed for answer in answers) else NO


def _record(policy: Policy, answer: Answer) -> dict[str, Any]:
    record = {"asked": answer.asked, "section": answer.section, **answer.verdict.record()}
    if answer.depends:
        record["decision"] = "depends"
    return {**record, "limits": _limits(policy, answer), "note": _note(policy, answer)}


def say(policy: Policy, answer: Answer) -> None:
    decided = "depends on the request" if answer.depends else str(answer.verdict.decision)
    _line(f"{answer.asked}: {decided}")
    for finding in sorted(answer.verdict.findings, key=lambda each: -each.decision):
        _line(f"  {finding.decision!s:<5}  {finding.place or finding.rule}")
        if finding.place:
            _line(f"         {finding.rule}")
        _line(f"         {finding.reason.removeprefix(f'{answer.asked}: ')}")
        if finding.instead:
            _line(f"         instead: {finding.instead}")
    for limit in _limits(policy, answer):
        _line(f"  and     {limit}")
    if note := _note(policy, answer):
        _line(f"  note    {note}")


def _limits(policy: Policy, answer: Answer) -> tuple[str, ...]:
    if answer.section != "files" or not answer.allowed:
        return ()
    return limits_on(policy, answer.asked.partition(" ")[0])


def _note(policy: Policy, answer: Answer) -> str:
    """That a permission is only said so far, where that is so."""
    if answer.verdict.decision is Decision.DENY:
        return ""
    if answer.section == "files":
        return _unheld(policy)
    waiting = [said for said in ungranted(policy) if said.partition(" ")[0] == answer.section]
    if waiting:
        return f"this is judged; nothing carries it out yet, so it cannot be done: {', '.join(waiting)}"
    return ""


def _unheld(policy: Policy) -> str:
    """Why no session opens under this policy yet; empty where one does."""
    try:
        check_enforced(policy)
    except PolicyError as error:
        return f"no session opens under it: {error.message}"
    return ""


def _not_yet(policy: Policy) -> tuple[str, ...]:
    waiting = ungranted(policy)
    said = f"allowed by it, and not there yet: {', '.join(waiting)}" if waiting else ""
    return tuple(each for each in (said, _unheld(policy)) if each)


# -- test ------------------------------------------------------------------------------------------------------


def _test(chosen: argparse.Namespace) -> int:
    text, origin = find_text(chosen.policy)
    examples = examples_of(text, origin)
    failed = [example for example in examples if not example.holds]
    if not failed:
        find_policy(chosen.policy)  # whatever else is wrong with it
    if chosen.json:
        _object(policy=chosen.policy, examples=[_example(each) for each in examples], failed=len(failed))
        return NO if failed else DONE
    for each in examples:
        wanted = "match" if each.wanted else "not_match"
        _line(f"{'ok  ' if each.holds else 'FAIL'}  {each.place}  {each.section}: {each.rule}")
        _line(f"        {wanted}: {each.text}{f': {each.why}' if each.why else ''}")
    _line(
        f"{_count(len(examples), 'example')}, {len(failed)} of them wrong" if failed else _all_hold(examples)
    )
    return NO if failed else DONE


def _example(example: Example) -> dict[str, Any]:
    return {
        "place": example.place,
        "section": example.section,
        "rule": example.rule,
        "example": example.text,
        "wanted": example.wanted,
        "holds": example.holds,
        "why": example.why,
    }


def _all_hold(examples: tuple[Example, ...]) -> str:
    if not examples:
        return "no examples: write `match:` and `not_match:` below a rule"
    return f"{_count(len(examples), 'example')}, and every one holds"


# -- diff and init ---------------------------------------------------------------------------------------------


def _diff(chosen: argparse.Namespace) -> int:
    found = compare(find_policy(chosen.a), find_policy(chosen.b))
    if chosen.json:
        _object(a=chosen.a, b=chosen.b, more=found.more, less=found.less, undecided=found.undecided)
        return DONE
    _lines(f"{chosen.b} lets be done, and {chosen.a} does not, or more strictly:", found.more)
    _lines(f"{chosen.a} lets be done, and {chosen.b} does not, or more strictly:", found.less)
    _lines("may differ; it cannot be told from the rules:", found.undecided)
    return DONE


def _lines(title: str, lines: Sequence[str]) -> None:
    _line(title)
    for line in lines or ("nothing that was found",):
        _line(f"  {line}")


def _init(chosen: argparse.Namespace) -> int:
    from mulligan.runtime import policy_init

    path = policy_init.init(chosen)
    _line(f"{path}: written")
    for said in _not_yet(find_policy(path if path.suffix else path.absolute())):
        _line(f"  {said}")
    return DONE


# -- how it is said --------------------------------------------------------------------------------------------


def _line(text: str) -> None:
    print(one_line(text))


def _object(**values: Any) -> None:
    print(json.dumps(values))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


# -- arguments -------------------------------------------------------------------------------------------------


def add_commands(policy: argparse.ArgumentParser) -> None:
    policy.description = "Policy files: what an action may do. docs/policies.md is a guide."
    commands = policy.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, command: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        parser = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        parser.set_defaults(command=command)
        return parser

    check = add("check", _check, "whether a file is a policy, and what of it nothing carries out yet")
    check.add_argument("policy", metavar="FILE", help=_NAME)
    show = add("show", _show, "the text of a preset; without its name, all of them")
    show.add_argument("policy", nargs="?", metavar="PRESET", help=_NAME)
    explaining = add("explain", _explain, "what a policy decides about one thing, by which rules, and why")
    explaining.add_argument("policy", metavar="FILE_OR_PRESET", help=_NAME)
    explaining.add_argument(
        "question",
        metavar="WHAT",
        help="such as 'POST https://example.org/', 'example.org', 'delete data/a.csv', 'tool send_mail', "
        "'database read sales', 'install numpy'",
    )
    explaining.epilog = (
        "exit codes: 0 allowed; 1 held, asked about, denied, or depends on the request; 2 bad input"
    )
    testing = add("test", _test, "the examples of a policy's own rules, one by one")
    testing.add_argument("policy", metavar="FILE", help=_NAME)
    testing.epilog = "exit codes: 0 every example holds; 1 one does not; 2 the file is no policy otherwise"
    add("schema", _schema, "JSON Schema of policy files, for editors")
    differing = add("diff", _diff, "what one policy lets be done and another does not")
    for name in ("a", "b"):
        differing.add_argument(name, metavar=name.upper(), help=_NAME)
    _add_init(add("init", _init, "write a policy file: asks what the agent should be able to do"))
    for parser in (check, explaining, testing, differing):
        parser.add_argument("--json", action="store_true", help="one JSON object, for programs")


def _add_init(init: argparse.ArgumentParser) -> None:
    init.epilog = "With any of the flags nothing is asked. A file that is there is never written over."
    init.add_argument("file", nargs="?", type=Path, default=Path("policy.yaml"), metavar="FILE")
    init.add_argument("--extends", choices=("none", *preset_names()), help="what to start from")
    init.add_argument(
        "--protect", action="append", default=[], metavar="GLOB", help="no action may change it"
    )
    init.add_argument("--read", action="append", default=[], metavar="HOST", help="pages may be read there")
    init.add_argument("--wall", type=_seconds, metavar="SECONDS", help="what one action may take")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return round(seconds, 3)
