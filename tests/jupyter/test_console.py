"""`jupyter console` in a terminal: what somebody types, Ctrl-C among it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pexpect

if TYPE_CHECKING:
    from tests.jupyter.conftest import Place

PATIENCE = 60


def test_a_console_reads_input_interrupts_and_undoes(place: Place) -> None:
    place.install()
    words = [
        "-P",
        "-m",
        "jupyter_console",
        "--kernel",
        "mulligan",
        "--ZMQTerminalInteractiveShell.simple_prompt=True",
    ]
    console = pexpect.spawn(
        sys.executable, words, cwd=str(place.folder), encoding="utf-8", timeout=PATIENCE, echo=False
    )
    try:
        console.expect("sandbox of Mulligan")
        console.expect(r"In \[1\]: ")
        console.sendline("x = input('your name? ')")
        console.expect("your name\\? ")
        console.sendline("Ada")
        console.expect(r"In \[2\]: ")
        console.sendline("x = 'spoilt'; _ = open('a.txt', 'w').write('two')")
        console.expect(r"In \[3\]: ")
        console.sendline("print('be' + 'gun', flush=True); exec('while True: pass')")
        console.expect("begun")
        console.sendintr()
        console.expect("KeyboardInterrupt")
        console.expect(r"In \[4\]: ")
        console.sendline("%undo 2")
        console.expect("took back 2 cells")
        console.expect(r"In \[\d\]: ")
        console.sendline("x, open('a.txt').read()")
        console.expect_exact("('Ada', 'one')")
        console.sendline("%goto 0")
        console.expect("went there")
        console.sendline("exit")
        console.expect(pexpect.EOF)
    finally:
        console.close(force=True)
    assert console.exitstatus == 0
    assert place.sessions() == []
