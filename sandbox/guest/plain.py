"""Runs an action that is plain Python as IPython would, with less of IPython around it.

After a fork each page that is written first costs two to three microseconds, and counting a reference is writing. The
machinery that IPython and ipykernel have around a cell (translating `%magic`, `!command` and `help?`, twice; tasks,
traits, payloads, layers of parents) writes four hundred pages, far more than the small action within. So what is plain
Python takes a short way here: the same parts of the shell do the work (its compiler, its history, its display hook,
its `run_code`, its tracebacks, its events), and what lies between them is left out. So is the copy that IPython 9 keeps
of all that is printed, for `%notebook`.

`Plain.run` declines, before anything has happened, whatever it is not sure of: IPython then has it, from the beginning.
"""

from __future__ import annotations

import ast
import inspect
import operator
import re
import sys
from collections.abc import Callable, Coroutine
from typing import Any

#: what each of IPython's own translations needs: an escape where one can be, a prompt that is stripped, a space first
_MARK = re.compile(
    r"""\A\s | ^[ \t\f]*[,;/%!] | =[\s\\]*[%!] | \? | >>> | \.\.\. | In\ \[""", re.MULTILINE | re.VERBOSE
)
_FIRST_WORD = re.compile(r"[\w.*]*")
_WHOLE = b'{"status": "ok", "execution_count": %d, "user_expressions": {}, "payload": []}'


class Plain:
    """The short way through one shell. To be made before any user code runs: it knows the shell as it is then."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        try:
            self._info, self._result, self._called_by_name = _classes()
            self._own_ways = self._ways()
            self._own_hooks = [list(each) for each in self._hooks()]
        except (ImportError, AttributeError, TypeError):  # an IPython that we do not know
            self._own_ways = ()

    def takes(self, content: dict[str, Any], cell_id: str | None) -> bool:
        """Whether the content of an execute request is plain Python, and all that is asked of it is to be run."""
        asked = bool(content.get("silent") or content.get("user_expressions") or cell_id)
        if asked or not content.get("store_history", True):
            return False
        return self._own_ways != () and self._is_plain(content["code"])

    def _is_plain(self, code: str) -> bool:
        """Whether IPython's translation of it would be itself, and nothing in it is awaited."""
        if "await" in code or "async" in code or _MARK.search(code) or not code:
            return False
        if not self._is_untouched():
            return False
        return len(code.splitlines()) != 1 or self._calls_nothing(code)

    def _calls_nothing(self, line: str) -> bool:
        """Whether a single line is no magic by its bare name, nor anything else that a line can be short for."""
        found = _FIRST_WORD.match(line)
        word = found.group() if found else ""
        if "#" in line or any(word in names for names in self._shell.magics_manager.magics.values()):
            return False
        return not isinstance(self._shell.user_ns.get(word), self._called_by_name)

    def _ways(self) -> tuple[Any, ...]:
        """What takes part in translating and running cells. User code may change each of it, and then IPython knows
        best what that means."""
        shell = self._shell
        cls = type(shell)
        return (
            shell.ast_node_interactivity,
            shell.autocall,
            shell.logger.log_active,
            shell.history_manager.db_log_output,
            _REPLACEABLE.isdisjoint(vars(shell)),
            cls.run_cell,
            cls.run_cell_async,
            cls.transform_cell,
        )

    def _hooks(self) -> tuple[list[Any], ...]:
        """Likewise, what is called for each cell."""
        shell = self._shell
        manager, prefilter = shell.input_transformer_manager, shell.prefilter_manager
        return (
            manager.cleanup_transforms,
            manager.line_transforms,
            manager.token_transformers,
            shell.input_transformers_post,
            prefilter.transformers,
            prefilter.checkers,
            shell.ast_transformers,
        )

    def _is_untouched(self) -> bool:
        hooks = zip(self._hooks(), self._own_hooks, strict=True)
        same = all(len(now) == len(own) and all(map(operator.is_, now, own)) for now, own in hooks)
        return same and self._ways() == self._own_ways

    def run(self, code: str) -> tuple[dict[str, Any] | None, bytes]:
        """Run a cell that it takes; the reply, None when it is not Python after all and nothing has been done. Where
        there is nothing to say but that it ended well, the reply is empty and comes as JSON."""
        shell = self._shell
        cell = code if code.endswith("\n") else code + "\n"
        try:
            body = shell.compile.ast_parse(cell, filename="<cell>").body
        except Exception:
            return None, b""  # IPython shows what is wrong with it
        count = shell.execution_count
        info = self._info(code, cell)
        result = self._result(info)
        result.execution_count = count
        shell.execution_count = count + 1
        shell._last_traceback, shell._last_traceback_during_displayhook = None, False
        try:
            self._tell("pre_execute")
            self._tell("pre_run_cell", info)
            shell.history_manager.store_inputs(count, cell, code)
            with shell.builtin_trap:
                name = shell.compile.cache(cell, count, raw_code=code)
                self._run(body, name, result)
            shell.last_execution_succeeded = result.success
            shell.last_execution_result = result
        finally:
            self._tell("post_execute")
            self._tell("post_run_cell", result)
        return self._reply(result)

    def _tell(self, event: str, *about: Any) -> None:
        if self._shell.events.callbacks[event]:
            self._shell.events.trigger(event, *about)

    def _run(self, body: list[ast.stmt], name: str, result: Any) -> None:
        """The statements, one after the other; the value of the last is shown."""
        shell = self._shell
        shell.displayhook.exec_result = result
        before, sys.displayhook = sys.displayhook, shell.displayhook
        try:
            for node in body:
                shown = node is body[-1] and isinstance(node, ast.Expr)
                try:
                    code = _compiled(shell.compile, node, name, shown)
                except (
                    Exception
                ) as error:  # what parses and is no Python all the same: a return outside a function
                    result.error_before_exec = error
                    shell.showtraceback()
                    return
                if _driven(shell.run_code(code, result)):
                    return
        finally:
            sys.displayhook = before
            shell.displayhook.exec_result = None

    def _reply(self, result: Any) -> tuple[dict[str, Any], bytes]:
        shell = self._shell
        error = result.error_before_exec or result.error_in_exec
        count = shell.execution_count - 1
        failed = error is not None or shell._last_traceback_during_displayhook
        payload = shell.payload_manager.read_payload()
        if not failed and not payload:
            return {}, _WHOLE % count
        shell.payload_manager.clear_payload()
        reply = {"status": "ok", "execution_count": count, "user_expressions": {}, "payload": payload}
        if failed:
            if error is not None and hasattr(
                shell, "_format_exception_for_storage"
            ):  # IPython 9: for %notebook
                shell.history_manager.exceptions[count] = shell._format_exception_for_storage(error)
            reply |= {"status": "error", "ename": type(error).__name__, "evalue": str(error)}
            reply["traceback"] = shell._last_traceback or []
        return reply, b""


_REPLACEABLE = frozenset(("run_cell", "_run_cell", "run_cell_async", "run_ast_nodes", "transform_cell"))


def _classes() -> tuple[Callable[[str, str], Any], Any, tuple[Any, ...]]:
    """How IPython describes an execution, its result, and what in a namespace a line can be short for."""
    from IPython.core.autocall import IPyAutocall
    from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult
    from IPython.core.macro import Macro

    known = {"raw_cell": "", "store_history": True, "silent": False, "shell_futures": True, "cell_id": None}
    describe: Any = ExecutionInfo
    takes = inspect.signature(describe).parameters
    fixed = {name: known[name] for name in takes if name in known}
    also = "transformed_cell" in takes

    def info(code: str, cell: str) -> Any:
        return describe(**{**fixed, "raw_cell": code}, **({"transformed_cell": cell} if also else {}))

    info("", "")  # one that asks for more is unknown to us: TypeError
    return info, ExecutionResult, (IPyAutocall, Macro)


def _compiled(compiler: Any, node: ast.stmt, name: str, shown: bool) -> Any:
    if shown:
        return compiler(ast.Interactive([node]), name, "single")
    return compiler(ast.Module([node], []), name, "exec")


def _driven(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine that awaits nothing returns."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("what awaits nothing has awaited")
