"""Policy files that are broken as people break them: each error names the place and what to write there."""

from __future__ import annotations

from pathlib import Path

import pytest

from mulligan.policies.errors import PolicyError
from mulligan.policies.loading import find_policy

RULE = "network:\n  - allow: GET pypi.org/**\n"

#: what is wrong -> the file, the place that is named (line:column), and what message and hint have to say
BROKEN: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "a misspelt section": ("resorces:\n  pids: 99\n", "1:1", ("'resorces'", "'resources'")),
    "a misspelt key": ("resources:\n  memmory: 1GiB\n", "2:3", ("'resources.memmory'", "'resources.memory'")),
    "a key outside its section": ("memory: 1GiB\n", "1:1", ("'memory'", "'resources.memory'")),
    "a key in another section": ("files:\n  memory: 1GiB\n", "2:3", ("'resources.memory'",)),
    "a key that is like none": ("resources:\n  zzz: 1\n", "2:3", ("known here", "resources.wall")),
    "another program's word": ("allowedDomains: [pypi.org]\n", "1:1", ("'network'",)),
    "a common word for it": ("resources:\n  timeout: 30\n", "2:3", ("'resources.wall'",)),
    "a unit that is none": ("resources:\n  memory: 4 gigs\n", "2:11", ("'4 gigs'", "4GiB")),
    "a unit where none belongs": ("resources:\n  wall: 30s\n", "2:9", ("'30s'", "without a unit")),
    "a negative size": ("resources:\n  memory: -1\n", "2:11", ("-1", "not above 0", "4GiB")),
    "a truth value for a number": ("resources:\n  pids: true\n", "2:9", ("true", "whole number")),
    "a number in quotes": ("resources:\n  pids: '100'\n", "2:9", ("'100'", "such as 100")),
    "half a process": ("resources:\n  pids: 99.5\n", "2:9", ("99.5", "whole number")),
    "an endless number": ("resources:\n  cpus: .inf\n", "2:9", ("'.inf'", "such as 30 or 0.5")),
    "a number that is too small": ("resources:\n  pids: 1\n", "2:9", ("1 is below 16",)),
    "a section without anything": ("files:\nresources: {pids: 99}\n", "1:7", ("nothing is written", "writable")),
    "a limit without a number": ("budgets:\n  deletions: ~\n", "2:14", ("nothing is written", "such as 100")),
    "a text for a list": ("files:\n  protect: data/raw\n", "2:12", ("no list", '["data/raw/**"')),
    "a list for a section": ("resources: [4GiB]\n", "1:12", ("a list is no section", "memory")),
    "a text for a section": ("files: mine\n", "1:8", ("'mine' is no section", "protect")),
    "a whole file that is a list": ("- allow: GET pypi.org/**\n", "1", ("made of sections", "'network:'")),
    "a whole file that is a word": ("locked\n", "1", ("made of sections",)),
    "a glob that takes out again": ('files:\n  protect: ["!x"]\n', "2:13", ("'!x'", "data/raw/**")),
    "a path of the machine": ("files:\n  protect: [~/data]\n", "2:13", ("'~/data'", "relative to the workspace")),
    "a star without quotes": ("files:\n  protect: [*.csv]\n", "2:14", ("quotes", '"*.csv"')),
    "a star at the beginning of a rule": ("network:\n  - deny: * evil.org/**\n", "2:12", ("quotes",)),
    "a tab": ("files:\n\tprotect: [a]\n", "2:1", ("tab", "spaces")),
    "indented too far": ("files:\n  protect: [a]\n   hidden: [b]\n", "3:4", ("indent",)),
    "indented too little": ("files:\n    protect: [a]\n  hidden: [b]\n", "3:3", ("indent",)),
    "a bracket that stays open": ("files:\n  protect: [a, b\nnetwork: []\n", "3:8", ("never closed",)),
    "a quotation mark that stays open": ('on_violation: "revert\n', "2:1", ("quotation mark",)),
    "no space after the colon": ("files:\n  protect:[a]\nnetwork: []\n", "2:3", ("no space", "key: value")),
    "the same section twice": ("files: {protect: [a]}\nfiles: {hidden: [b]}\n", "2:1", ("'files'", "line 1")),
    "an anchor": ("files: &mine\n  protect: [a]\n", "1:8", ("&mine", "where they are used")),
    "an object of Python's": ("files: !!python/object:os.system x\n", "1:8", ("tag", "remove it")),
    "two documents": ("files: {protect: [a]}\n---\nnetwork: []\n", "2:1", ("one file is one policy",)),
    "a rule without a list": ("network:\n  allow: GET pypi.org/**\n", "2:3", ("list of rules", "- allow: ")),
    "a rule without a decision": ("network:\n  - GET pypi.org/**\n", "2:5", ("- allow: GET pypi.org/**",)),
    "two decisions": ("network:\n  - allow: GET a.org/**\n    deny: GET a.org/x\n", "2:5", ("allow and deny",)),
    "a decision that is none": ("network:\n  - permit: GET a.org/**\n", "2:5", ("permit", "allow", "deny")),
    "a decision misspelt": ("network:\n  - alow: GET a.org/**\n", "2:5", ("did you mean 'allow'",)),
    "a decision over nothing": ("network:\n  - allow:\n", "2:11", ("nothing is written",)),
    "a rule without a path": ("network:\n  - allow: GET pypi.org\n", "2:12", ("no path", "pypi.org/**")),
    "a rule without a method": ("network:\n  - allow: pypi.org/**\n", "2:12", ("GET pypi.org/**",)),
    "a method in small letters": ("network:\n  - allow: get a.org/**\n", "2:12", ("'get'", "write GET")),
    "a star in the middle of a host": ("network:\n  - allow: GET a.*.org/**\n", "2:12", ("*.pypi.org",)),
    "an address in octal": ("network:\n  - allow: GET 0177.0.0.1/**\n", "2:12", ("'0177.0.0.1'", "127.0.0.1")),
    "a port that is none": ("network:\n  - allow: GET a.org:99999/**\n", "2:12", ("'99999'", "65535")),
    "a path with a query": ("network:\n  - allow: GET a.org/x?y=1\n", "2:12", ("query",)),
    "a path that goes up": ("network:\n  - allow: GET a.org/../x\n", "2:12", ("'/../x'",)),
    "an example that does not match": (RULE + "    match: [POST pypi.org/x]\n", "3:13", ("'POST pypi.org/x'",)),
    "an example that matches": (RULE + "    not_match: [GET pypi.org/x]\n", "3:17", ("'GET pypi.org/x'",)),
    "an example that is no request": (RULE + "    match: [pypi.org]\n", "3:13", ("METHOD URL",)),
    "a secret that is not named": (RULE + "    uses: [TOKEN]\n", "3:11", ("'TOKEN'", "under secrets")),
    "a secret itself": ("secrets:\n  TOKEN: abc123\n", "2:10", ("environment:NAME",)),
    "an argument without a name": ("tools:\n  - allow: send(bob)\n", "2:12", ("argument=glob",)),
    "a kind of statement that is none": ("databases:\n  - allow: drop sales\n", "2:12", ("'drop'", "define")),
    "a package without a source": ("packages:\n  - allow: pandas\n", "2:12", ("pandas from pypi",)),
    "a routine that is none": ("library:\n  - allow: clean data\n", "2:12", ("clean_*",)),
    "an answer to violations that is none": ("on_violation: undo\n", "1:15", ("'undo'", "revert, ask or report")),
    "a section to widen that is none": ("widenable: [netwrk]\n", "1:13", ("'netwrk'", "network")),
    "a preset misspelt": ("extends: analisys\n", "1:10", ("'analysis'", "locked")),
    "a file that is not there": ("extends: org.yaml\n", "1:10", ("org.yaml", "No such file")),
    "a preset widened": ("extends: locked\nnetwork:\n  - allow: GET a.org/**\n", "3:12", ("more than", "widenable")),
    "a limit of a preset widened": ("extends: locked\nresources: {memory: 4GiB}\n", "2:21", ("memory", "widenable")),
}  # fmt: skip


def test_there_are_forty_of_them_at_least() -> None:
    assert len(BROKEN) >= 40 and len({text for text, _, _ in BROKEN.values()}) == len(BROKEN)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_says_where_and_what_to_write(what: str, tmp_path: Path) -> None:
    text, place, said = BROKEN[what]
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(PolicyError) as caught:
        find_policy(path)
    error = caught.value
    assert error.message.startswith(f"{path}:{place}:"), str(error)
    assert [each for each in said if each not in str(error)] == [], str(error)
    assert error.hint and "Traceback" not in str(error) and "Input should" not in str(error)
    assert len(error.message.splitlines()) == 1
    assert str(error).isascii() or "→" in str(error)


def test_an_old_policy_in_toml_is_told_what_became_of_it(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text('[resources]\nmemory = "1GiB"\n')
    with pytest.raises(PolicyError, match="YAML files, not TOML") as caught:
        find_policy(tmp_path / "policy.toml")
    assert "memory: 4GiB" in caught.value.hint
