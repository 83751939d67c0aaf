"""nbclient and papermill execute notebooks in a sandbox, and what comes out is what plain ipykernel gives."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import papermill
import pytest
from nbclient import NotebookClient

if TYPE_CHECKING:
    from tests.jupyter.conftest import Place

CELLS = [
    "import sys\nprint('out'); print('err', file=sys.stderr)\n1 + 1",
    "from IPython.display import display, HTML, clear_output\ndisplay(HTML('<b>bold</b>'))\ndisplay({'a': [1]})",
    "handle = display('before', display_id='one')",
    "handle.update('after')\nprint('gone'); clear_output(); print('stays')",
    "import pandas as pd\npd.DataFrame({'city': ['Oslo', 'Lima'], 'price': [4.5, 1.0]})",
    "%matplotlib inline\nimport matplotlib.pyplot as plt\n_ = plt.plot([1, 2, 3])",
    "%%bash\necho from bash",
    "!echo from a shell",
    "import asyncio\nawait asyncio.sleep(0)\n'awaited'",
    "open('made.txt', 'w').write('by a cell')",
    "n, open('made.txt').read()",
    "def fails(n):\n    return n / 0\nfails(3)",
]
_CELL: dict[str, Any] = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def a_notebook(*sources: str) -> nbformat.NotebookNode:
    cells = [{**_CELL, "id": f"c{at}", "source": source} for at, source in enumerate(sources)]
    whole = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return nbformat.from_dict(whole)  # type: ignore[no-untyped-call,no-any-return]


def outputs(notebook: nbformat.NotebookNode) -> list[Any]:
    """Number and outputs of each cell, without what differs from run to run."""
    return [(cell.execution_count, [_normal(each) for each in cell.outputs]) for cell in notebook.cells]


def _normal(output: nbformat.NotebookNode) -> Any:
    plain = json.loads(json.dumps(output))
    if "traceback" in plain:
        lines = _COLOURS.sub("", "\n".join(plain["traceback"])).splitlines()
        plain["traceback"] = [re.sub(r"\s+", " ", line.strip("- ")) for line in lines]
    if (png := plain.get("data", {}).get("image/png")) is not None:
        plain["data"]["image/png"] = png[:11]  # how a PNG begins: versions of libraries draw differently
    return plain


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return by_nbclient("python3", tmp_path_factory.mktemp("plain"))


def by_nbclient(kernel: str, folder: Path) -> list[Any]:
    notebook = a_notebook("n = 2", *CELLS)
    notebook.cells[-1].metadata["tags"] = ["raises-exception"]
    resources = {"metadata": {"path": str(folder)}}
    return outputs(NotebookClient(notebook, kernel_name=kernel, timeout=60, resources=resources).execute())


def test_nbclient_gets_what_plain_ipykernel_gives(place: Place, plain: list[Any]) -> None:
    place.install("--at-end", "commit")
    assert by_nbclient("mulligan", place.folder) == plain
    assert (place.folder / "made.txt").read_text() == "by a cell"  # committed as it shut down
    assert place.sessions() == []


def test_papermill_gets_what_plain_ipykernel_gives(place: Place, plain: list[Any], tmp_path: Path) -> None:
    place.install("--at-end", "discard")
    notebook = a_notebook("n = 1", *CELLS[:-1])  # it takes no cell that is to fail
    notebook.cells[0].metadata["tags"] = ["parameters"]
    (tmp_path / "in.ipynb").write_text(json.dumps(notebook))
    done = papermill.execute_notebook(
        tmp_path / "in.ipynb",
        tmp_path / "out.ipynb",
        parameters={"n": 2},
        kernel_name="mulligan",
        language="python",
        cwd=place.folder,
        progress_bar=False,
    )
    assert done.cells[1].source.splitlines()[-1] == "n = 2"
    given = [[_unnumbered(each) for each in shown] for _, shown in outputs(done)[2:]]
    assert given == [[_unnumbered(each) for each in shown] for _, shown in plain[1:-1]]
    assert not (place.folder / "made.txt").exists()


def _unnumbered(output: dict[str, Any]) -> dict[str, Any]:
    """Its cell comes one later: the parameters are a cell of their own."""
    return {name: value for name, value in output.items() if name != "execution_count"}
