"""What is plain Python takes a short way round IPython's machinery, and nobody can tell."""

from __future__ import annotations

import json

from mulligan import Session

#: something that takes part in translating cells: from here on IPython has every cell
ALL_THE_WAY = "get_ipython().input_transformers_post.append(lambda lines: lines)"

TWICE = """
import ast
class Twice(ast.NodeTransformer):
    def visit_Constant(self, node):
        return ast.Constant(node.value * 2)
get_ipython().ast_transformers.append(Twice())
"""

#: as many hooks as before, but one is another
OTHER_HOOK = """
lines = get_ipython().input_transformer_manager.line_transforms
lines[-1] = lambda cell, then=lines[-1]: [each.replace('one', '1') for each in then(cell)]
"""

ACTIONS = (
    "x = 1",
    "x",
    "x;",
    "print('a'); x + 1",
    "'text\\n'",
    "_, __, _i, _ii, In[-2], Out",
    "_2",
    "def f():\n    '''>> a prompt'''\n    return 1 / 0",
    "f()",
    "import inspect; inspect.getsource(f)",
    "y = 5\nreturn 1",
    "y",
    "if True\n    pass",
    "  z = 3",
    "\n\nz",
    "from __future__ import annotations",
    "def g(a: no_such_name): pass",
    "get_ipython().execution_count",
    "get_ipython().last_execution_succeeded, get_ipython().last_execution_result.result",
    "raise SystemExit(3)",
    "exit",
    "raise KeyboardInterrupt",
    "import warnings; warnings.warn('once')",
    "import warnings; warnings.warn('once')",
    "%who_ls",
    "who_ls",
    "a = %who_ls",
    "who_ls = 3",
    "who_ls",
    "!echo shell",
    "b = 7 % 4\nb != 3",
    "x?",
    "import asyncio; await asyncio.sleep(0, 'awaited')",
    "display(1); display({'a': 1}); 2",
    "class Shown:\n    def _repr_html_(self): return '<b>shown</b>'\nShown()",
    "class Broken:\n    def __repr__(self): raise ValueError('broken')\nBroken()",
    "try:\n    input()\nexcept Exception as error:\n    print(type(error).__name__)",
    "called = []\nget_ipython().events.register('pre_run_cell', lambda info: called.append(info.raw_cell))",
    "get_ipython().events.register('post_run_cell', lambda result: called.append(result.result))",
    "40 + 2",
    "called",
    TWICE,
    "21",
    "get_ipython().ast_transformers.clear()",
    "get_ipython().ast_node_interactivity = 'all'",
    "1\n2",
    "get_ipython().ast_node_interactivity = 'last_expr'",
    OTHER_HOOK,
    "one + one",
)


def told(session: Session, source: str) -> str:
    outcome = session.run(source).outcome
    shown = [dict(each.data) for each in outcome.displays]
    result = None if outcome.result is None else (dict(outcome.result.data), outcome.result.execution_count)
    error = outcome.error and (outcome.error.name, outcome.error.value, outcome.error.traceback)
    return json.dumps([source, outcome.kind, outcome.stdout, outcome.stderr, shown, result, error], indent=1)


def without_places(text: str) -> str:
    """The name of a cell's file has the worker's pid in it, and warnings tell it."""
    return "\n".join(line for line in text.splitlines() if "ipykernel_" not in line and " at 0x" not in line)


def test_an_action_ends_as_it_would_with_all_of_ipython_around_it(session: Session) -> None:
    session.run("pass")
    short = [without_places(told(session, source)) for source in ACTIONS]
    session.reset()
    session.run(ALL_THE_WAY)
    assert short == [without_places(told(session, source)) for source in ACTIONS]
