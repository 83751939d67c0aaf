"""Which packages a request to an index is about, and what rules for packages make of it."""

from __future__ import annotations

import pytest

from mulligan.policies.asking import judge_asked, looks_inside
from mulligan.policies.decision import Decision
from mulligan.policies.errors import PolicyError
from mulligan.policies.explaining import explain
from mulligan.policies.loading import parse_policy
from mulligan.policies.packages import packages_in
from mulligan.policies.patterns import Package, PackagePattern
from mulligan.policies.requests import parse_request

FILES = "https://files.pythonhosted.org/packages/ab/cd/0123"
POLICY = parse_policy("""
network:
  - allow: ["GET pypi.org/**", "GET files.pythonhosted.org/**", "GET index.example/**", "GET other.example/**"]
  - allow: CONNECT pypi.org
packages:
  - allow: numpy>=1.26,<3 from pypi
  - allow: Typing_Extensions from pypi.org
  - allow: ANY from index.example
  - deny: left-pad from ANY
    instead: write it in one line
  - deny: pandas<2 from index.example
""")


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://pypi.org/simple/Foo.Bar/", [Package("foo-bar", "pypi")]),
        ("https://pypi.org/simple/", []),
        ("https://pypi.org/pypi/foo/1.0/json", [Package("foo", "pypi")]),
        (f"{FILES}/foo_bar-1.0-py3-none-any.whl", [Package("foo-bar", "pypi", "1.0")]),
        (f"{FILES}/foo_bar-1.0-1-py3-none-any.whl.metadata", [Package("foo-bar", "pypi", "1.0")]),
        (f"{FILES}/foo-bar-1.0.tar.gz", [Package("foo-bar", "pypi", "1.0")]),
        # it can be read in two ways
        (f"{FILES}/foo-1.0-1.tar.gz", [Package("foo", "pypi", "1.0-1"), Package("foo-1-0", "pypi", "1")]),
        (f"{FILES}/foo.whl", [Package("", "pypi", "")]),
        (f"{FILES}/anything", [Package("", "pypi", "")]),
        ("https://index.example/a/+simple/foo/", [Package("foo", "index.example")]),
        ("https://index.example/simple/foo-1.0-py3-none-any.whl", [Package("foo", "index.example", "1.0")]),
        ("https://index.example/f/foo-1.0.zip", [Package("foo", "index.example", "1.0")]),
        ("https://index.example/f/foo-1.0.ZIP", [Package("foo", "index.example", "1.0")]),
        ("https://index.example/f/foo-1.0.tbz", [Package("foo", "index.example", "1.0")]),
        ("https://index.example/f/foo-1.0-py3-none-any.whl;a=b", [Package("foo", "index.example", "1.0")]),
        ("https://index.example/simple/foo;a=b/", [Package("foo", "index.example")]),
        ("https://other.example/data-2020.zip", []),
        ("https://other.example/foo-1.0-py3-none-any.whl", [Package("foo", "other.example", "1.0")]),
        ("https://other.example/", []),
    ],
)
def test_a_request_is_about_the_packages_that_its_path_names(url: str, found: list[Package]) -> None:
    assert list(packages_in(parse_request(f"GET {url}"), {"pypi", "index.example"})) == found


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://pypi.org/simple/numpy/", True),
        ("https://pypi.org/simple/", True),
        ("https://pypi.org/simple/requests/", False),
        ("https://pypi.org/simple/typing-extensions/", True),
        (f"{FILES}/numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.whl", True),
        (f"{FILES}/numpy-1.25.0-cp311-cp311-manylinux_2_17_x86_64.whl", False),
        (f"{FILES}/numpy-3.0.tar.gz", False),
        (f"{FILES}/requests-2.32-py3-none-any.whl", False),
        (f"{FILES}/numpy.whl", False),
        ("https://index.example/simple/anything/", True),
        ("https://index.example/simple/Left.Pad/", False),
        ("https://index.example/f/left_pad-1.0-py3-none-any.whl", False),
        ("https://index.example/f/left-pad-1.0-1.tar.gz", False),  # or is it left-pad-1.0?
        ("https://index.example/f/strange.whl", False),  # it could be left-pad
        ("https://index.example/simple/pandas/", True),
        ("https://index.example/f/pandas-1.5-py3-none-any.whl", False),
        ("https://index.example/f/pandas-2.2-py3-none-any.whl", True),
        ("https://other.example/numpy-1.26.4-py3-none-any.whl", False),
        ("https://other.example/data.zip", True),
    ],
)
def test_what_may_be_installed_is_decided_by_name_version_and_source(url: str, allowed: bool) -> None:
    assert (judge_asked(POLICY, parse_request(f"GET {url}")).decision is Decision.ALLOW) is allowed


def test_a_tunnel_to_an_index_is_looked_into() -> None:
    assert looks_inside(POLICY, "pypi.org", 443) and looks_inside(POLICY, "index.example", 443)


def test_a_policy_without_rules_for_packages_leaves_them_to_the_network() -> None:
    policy = parse_policy("network: [{allow: GET pypi.org/**}]")
    assert judge_asked(policy, parse_request("GET pypi.org/simple/x/")).decision is Decision.ALLOW
    assert judge_asked(policy, parse_request("POST pypi.org/simple/x/")).decision is Decision.DENY


def test_explain_tells_of_one_version_and_of_some() -> None:
    assert explain(POLICY, "install numpy")[0].allowed
    assert explain(POLICY, "install numpy==1.26.4")[0].allowed
    assert not explain(POLICY, "install numpy==1.25 from pypi.org")[0].allowed
    with pytest.raises(PolicyError, match="write one version"):
        explain(POLICY, "install numpy>=1")


@pytest.mark.parametrize("line", ["numpy>=x from pypi", "numpy 1.0 from pypi", "ANY>=1 from pypi", "numpy"])
def test_a_line_that_names_no_package_says_what_to_write(line: str) -> None:
    with pytest.raises(ValueError, match="write such as"):
        PackagePattern.parse(line)


def test_some_versions_are_covered_by_all_and_not_by_others() -> None:
    every, some, other = map(PackagePattern.parse, ("a from pypi", "a>=1 from pypi", "a>=2 from pypi"))
    assert every.covers(some) and some.covers(some)
    assert not some.covers(every) and not some.covers(other)
