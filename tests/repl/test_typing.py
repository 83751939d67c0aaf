"""Lines, as they are typed in a terminal."""

from __future__ import annotations

import re
from pathlib import Path

from tests.repl.terminal import Terminal


def test_a_line_is_run_and_gets_a_quiet_line(repl: Terminal) -> None:
    said = repl.run("_ = open('b.txt', 'w').write('x'); 6 * 7")
    assert "42\n✓" in said
    assert re.search(r"✓ \d+  completed  \d+ ms  \+1  b\.txt", said)


def test_a_block_goes_on_indented_until_a_blank_line(repl: Terminal) -> None:
    repl.enter("for i in range(3):")
    repl.until_shown(" ...")
    repl.enter("print('row', i * 10)")
    said = repl.run("")
    assert "row 0\nrow 10\nrow 20\n" in said


def test_tab_completes_a_name_that_the_kernel_knows(repl: Terminal) -> None:
    repl.run("treasure_chest = [3]")
    repl.send("len(treasure_c")
    repl.press_until_shown("\t", "]> len(treasure_chest")
    assert "1\n" in repl.run(")")


def test_tab_completes_commands_and_steps(repl: Terminal) -> None:
    repl.send(":timel")
    repl.until_shown("the tree of steps")
    repl.send("\t\r\r")
    repl.until("session opened")
    repl.prompt()
    repl.run("unmistakable = 1")
    repl.send(":goto ")
    repl.until_shown("unmistakable = 1")
    repl.send("\x03")


def test_what_is_called_shows_how_below(repl: Terminal) -> None:
    repl.run("def sail(boat, *, knots: int = 5): 'over the sea'")
    repl.send("sail(")
    repl.until_shown("sail(boat, *, knots: int = 5)")
    repl.send("\x03")


def test_a_question_mark_explains(repl: Terminal) -> None:
    repl.paste("def moor(rope):\n    'ties up'\n    return rope\n")
    repl.run("")
    assert "ties up" in repl.run("moor?")
    assert "return rope" in repl.run("moor??")
    assert "nothing is known of no_such_thing" in repl.run("no_such_thing?")


def test_ctrl_c_empties_the_line_and_interrupts_an_endless_loop(repl: Terminal) -> None:
    repl.send("half a line")
    repl.until_shown("half a line")
    repl.send("\x03")
    repl.run("kept = 'still here'")
    repl.enter("print('be' + 'gun', flush=True); exec('while True: pass')")
    repl.until("begun")
    repl.send("\x03")
    assert "KeyboardInterrupt" in repl.prompt()
    assert "still here" in repl.run("kept")


def test_what_is_typed_while_an_action_runs_waits_for_the_prompt(repl: Terminal) -> None:
    repl.enter("import time; print('go' + 'ing', flush=True); time.sleep(1)")
    repl.until("going")
    repl.enter("'typed' + ' ahead'")
    repl.until("'typed ahead'")
    repl.prompt()


def test_input_is_asked_for_and_answered(repl: Terminal) -> None:
    repl.enter("name = input('your name? ')")
    repl.until("your name? ")
    repl.send("Ada\r")
    repl.prompt()
    assert "'Ada'" in repl.run("name")


def test_a_thousand_pasted_lines_are_one_action(repl: Terminal) -> None:
    repl.paste("total = 0\n" + "".join(f"total += {n}\n" for n in range(1000)) + "print('sum', total)")
    repl.send("\r")
    repl.until("sum 499500")
    repl.prompt()
    repl.run(":undo")
    assert "NameError" in repl.run("total")


def test_the_screen_follows_when_the_terminal_is_resized(repl: Terminal) -> None:
    repl.send("'0123456789' + 'abcdefghijklmnopqrstuvwxyz'")
    repl.until_shown("vwxyz'")
    repl.resize(30, 40)
    repl.until_shown("'0123456789'")
    repl.send("\r")
    repl.prompt()
    repl.run("print('-' * 10)")
    assert max(map(len, repl.display)) <= 40
    repl.resize(24, 80)
    repl.run("1")


def test_history_outlives_the_session_and_is_the_users_alone(repl: Terminal, state: Path) -> None:
    repl.run("'to be ' + 'remembered'")
    history = state / "repl-history"
    assert history.stat().st_mode & 0o777 == 0o600
    assert "'to be ' + 'remembered'" in history.read_text()
    repl.send("\x1b[A")
    repl.until_shown("'to be ' + 'remembered'")
    repl.send("\x03")
