"""Jupyter's servers drive the kernel by REST and websockets, as a browser has them do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .servers import PATIENCE, SERVER, serve

if TYPE_CHECKING:
    from tests.jupyter.conftest import Place

ENDLESS = "print('here', flush=True)\nimport time\nwhile True: time.sleep(0.01)"


def test_a_server_creates_drives_interrupts_restarts_and_ends_it(place: Place) -> None:
    place.install()
    with serve(SERVER, place.folder) as server:
        assert "mulligan" in server.ask("GET", "kernelspecs").json()["kernelspecs"]
        kernel = server.ask("POST", "kernels", {"name": "mulligan"}).json()["id"]
        with server.channels(kernel) as channels:
            channels.run("x = 1; _ = open('a.txt', 'w').write('two')")
            channels.run("x = 2; _ = open('a.txt', 'w').write('three')")
            assert "a.txt" in channels.run("%undo")
            assert channels.run("x, open('a.txt').read()") == "(1, 'two')"
            assert (place.folder / "a.txt").read_text() == "one"

            endless = channels.send("execute_request", {"code": ENDLESS})
            channels.until(endless, "stream")
            assert server.ask("POST", f"kernels/{kernel}/interrupt").status_code == 204
            said = channels.until(endless, "execute_reply")[0]
            assert said["ename"] == "KeyboardInterrupt", said

            assert server.ask("POST", f"kernels/{kernel}/restart").json()["id"] == kernel
        with server.channels(kernel) as channels:
            assert channels.run("'x' in globals(), open('a.txt').read()") == "(False, 'two')"
            channels.run("%undo 2")  # that look, and the restart
            assert channels.run("x") == "1"
            channels.run("%goto 0")
        assert len(place.sessions()) == 1
        assert server.ask("DELETE", f"kernels/{kernel}").status_code == 204
        assert server.ask("GET", "kernels").json() == []
        assert place.sessions() == []
    assert server.process.wait(PATIENCE) is not None
