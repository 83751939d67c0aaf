"""What makes a kernel more than a console: widgets, figures, other languages' cells, packages, what it lacks."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .images import image_with

if TYPE_CHECKING:
    from tests.jupyter.conftest import Notebook

SLIDER = """
import ipywidgets
seen = []
slider = ipywidgets.IntSlider(value=3, description="n")
slider.observe(lambda change: seen.append((change["old"], change["new"])), "value")
slider
"""


@pytest.fixture(scope="module")
def options(isolation: str) -> Iterator[list[str]]:
    """In Docker, an image that has ipywidgets."""
    if isolation != "docker":
        yield []
        return
    with image_with(f"mulligan-test:widgets-{os.getpid()}", "ipywidgets") as image:
        yield ["--image", image]


def test_a_slider_is_shown_moved_by_its_client_and_moved_by_code(notebook: Notebook) -> None:
    shown = notebook.run(SLIDER)
    (view,) = shown.contents("execute_result")
    id = view["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
    states = {each["comm_id"]: each["data"]["state"] for each in shown.contents("comm_open")}
    assert states[id]["value"] == 3 and states[id]["_model_name"] == "IntSliderModel"
    client = notebook.client
    moved = {"method": "update", "state": {"value": 7}, "buffer_paths": []}
    sent = client.session.msg("comm_msg", {"comm_id": id, "data": moved})
    client.shell_channel.send(sent)
    while (back := client.get_iopub_msg(timeout=60))["content"].get("execution_state") != "idle":
        assert back["parent_header"]["msg_id"] == sent["header"]["msg_id"]
    assert notebook.value("slider.value, seen") == "(7, [(3, 7)])"
    told = notebook.run("slider.value = 9").contents("comm_msg")
    assert {"value": 9} in [each["data"].get("state") for each in told]
    notebook.run("%undo")
    assert notebook.value("slider.value, seen") == "(7, [(3, 7)])"


def test_a_figure_is_a_png(notebook: Notebook) -> None:
    drawn = notebook.run("%matplotlib inline\nimport matplotlib.pyplot as plt\n_ = plt.plot([1, 2])")
    (figure,) = drawn.contents("display_data")
    assert base64.b64decode(figure["data"]["image/png"]).startswith(b"\x89PNG\r\n")
    (again,) = notebook.run("_ = plt.plot([2, 1])").contents("display_data")
    assert "image/png" in again["data"]
    assert "no screen for 'tk'" in str(notebook.run("%gui tk").messages)


def test_cells_in_other_languages_run_and_are_taken_back(notebook: Notebook) -> None:
    assert notebook.run("%%bash\necho spoilt > a.txt\ncat a.txt").stdout == "spoilt\n"
    assert "spoilt" in notebook.run("!cat a.txt").stdout
    assert notebook.value("listed = !ls\nlist(listed)") == "['a.txt']"
    notebook.run("%undo 3")
    assert notebook.run("%%bash\ncat a.txt").stdout == "one"
    failed = notebook.run("%%bash\nexit 3")
    assert failed.status == "error" and "3" in failed.reply["evalue"]


def test_pip_lists_packages_and_says_that_there_is_no_network(notebook: Notebook) -> None:
    assert "ipykernel" in notebook.run("%pip list --disable-pip-version-check").stdout
    tried = notebook.run("%pip install --retries 0 --no-input mulligan-no-such-package")
    said = "".join(each["text"] for each in tried.contents("stream"))
    assert "No matching distribution found" in said or "Could not find" in said


def test_what_it_lacks_is_declared_and_a_request_for_it_is_answered(notebook: Notebook) -> None:
    info = notebook.client.kernel_info(reply=True, timeout=60)["content"]
    assert info["supported_features"] == [] and info["debugger"] is False
    for kind, content in (
        ("create_subshell_request", {}),
        ("debug_request", {"command": "attach", "seq": 1}),
    ):
        asked = notebook.client.session.msg(kind, content)
        notebook.client.control_channel.send(asked)
        reply = notebook.client.get_control_msg(timeout=60)
        assert reply["parent_header"]["msg_id"] == asked["header"]["msg_id"]
        assert reply["content"].get("status") == "error" or reply["content"]["success"] is False
