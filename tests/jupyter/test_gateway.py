"""A Jupyter Kernel Gateway serves sandboxed kernels, which is how agents' frameworks reach one: AutoGen's client."""

from __future__ import annotations

import asyncio
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from .servers import GATEWAY, TOKEN, Served, serve

if TYPE_CHECKING:
    from tests.jupyter.conftest import Place

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of theirs
    from autogen_core import CancellationToken
    from autogen_core.code_executor import CodeBlock
    from autogen_ext.code_executors.docker_jupyter import DockerJupyterCodeExecutor
    from autogen_ext.code_executors.docker_jupyter._jupyter_server import JupyterConnectionInfo

PLOT = "%matplotlib inline\nimport matplotlib.pyplot as plt\n_ = plt.plot([1, 2])"


def test_autogens_client_works_in_a_sandbox_through_a_gateway(place: Place, tmp_path: Path) -> None:
    place.install()
    with serve(GATEWAY, place.folder) as gateway:
        asyncio.run(_an_agents_turns(gateway, place, tmp_path))
        assert gateway.ask("GET", "kernels").json() == []
    (drawn,) = tmp_path.glob("*.png")
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert place.sessions() == []


async def _an_agents_turns(gateway: Served, place: Place, plots: Path) -> None:
    where = JupyterConnectionInfo("127.0.0.1", use_https=False, port=gateway.port, token=TOKEN)
    executor = DockerJupyterCodeExecutor(where, kernel_name="mulligan", timeout=60, output_dir=plots)

    async def run(*sources: str) -> tuple[int, str]:
        blocks = [CodeBlock(source, "python") for source in sources]
        result = await executor.execute_code_blocks(blocks, CancellationToken())
        return result.exit_code, result.output

    async with executor:
        assert await run("x = 1; print('hello')", "import os; os.remove('a.txt'); x = 2") == (0, "hello\n\n")
        failed, said = await run("1 / 0")
        assert failed == 1 and "ZeroDivisionError" in said
        assert (await run("%undo 2"))[0] == 0
        assert await run("print(x, open('a.txt').read())") == (0, "1 one\n")
        drawn = (await run(PLOT))[1].strip().splitlines()[-1]
        assert drawn.endswith(".png")

        (kernel,) = gateway.ask("GET", "kernels").json()
        with gateway.channels(kernel["id"]) as channels:  # any other client finds the same kernel
            assert channels.run("x") == "1"
            channels.run("%goto 0")
        await executor.restart()
        assert await run("print('x' in globals())") == (0, "False\n")
        assert (place.folder / "a.txt").read_text() == "one"
