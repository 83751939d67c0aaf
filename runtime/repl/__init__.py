"""The REPL: `mulligan` with no arguments, or `mulligan repl`.

A line is Python, which becomes a step, or begins with `:`, and is then answered on the host: code in the sandbox can
have nothing undone or committed. The prompt is there before the sandbox is, which is opened on a thread meanwhile
(opening.py); what is typed until then waits. All that the sandbox says goes through screen.py, and nothing of it acts
on the terminal.
"""
