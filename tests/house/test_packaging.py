"""The archives hold the whole package, though its rooms are links in the tree."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("policies", "runtime", "sandbox")
SOURCES = (*ROOMS, "src", "pyproject.toml", "README.md", "LICENSE", "SPECIFICATION.md", ".gitignore")


def build(tree: Path, kind: str, into: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(into)]
    subprocess.run(command, cwd=tree, check=True, capture_output=True, timeout=100)
    (archive,) = into.iterdir()
    return archive


def package_files(tree: Path) -> set[str]:
    """Every file of the rooms and the front door, by the name that an installed package gives it."""
    homes = {f"mulligan/{room}": tree / room for room in ROOMS} | {"mulligan": tree / "src/mulligan"}
    return {
        f"{name}/{file.relative_to(home)}"
        for name, home in homes.items()
        for file in home.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources, as a clone has them: links stay links and nothing was built."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, symlinks=True)
        else:
            shutil.copy2(ROOT / name, tree / name)
    return tree


def test_the_wheel_holds_every_file_of_the_rooms(tree: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(build(tree, "wheel", tmp_path / "wheel")) as wheel:
        held = {name for name in wheel.namelist() if name.startswith("mulligan/")}
    assert held == package_files(tree)
    assert {"mulligan/py.typed", "mulligan/sandbox/image/Dockerfile"} <= held
    assert any(name.startswith("mulligan/sandbox/guest/") and name.endswith(".py") for name in held)


def test_a_wheel_built_from_the_sdist_is_the_wheel_built_from_the_tree(tree: Path, tmp_path: Path) -> None:
    with tarfile.open(build(tree, "sdist", tmp_path / "sdist")) as sdist:
        sdist.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    first = build(tree, "wheel", tmp_path / "first")
    second = build(unpacked, "wheel", tmp_path / "second")
    assert first.read_bytes() == second.read_bytes()


def test_the_rooms_are_links_to_the_top_level_folders() -> None:
    for room in ROOMS:
        assert (ROOT / "src/mulligan" / room).readlink() == Path("../..", room)


def test_what_the_proxy_imports_the_extra_for_networks_brings() -> None:
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["network"]]
    brought = {re.split(r"[<>=;\[ ]", line)[0].replace("-", "_") for line in listed}
    trees = [ast.parse(file.read_text()) for file in (ROOT / "sandbox" / "egress").glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    imported = {name.partition(".")[0] for name in names} - {"mulligan", *sys.stdlib_module_names}
    assert imported and imported <= brought
