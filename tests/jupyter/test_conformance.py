"""The message specification, as `jupyter_kernel_test` knows it: every test of it, and none skipped."""

from __future__ import annotations

import unittest
from typing import TYPE_CHECKING

import jupyter_kernel_test

if TYPE_CHECKING:
    from tests.jupyter.conftest import Place


class Conformance(jupyter_kernel_test.KernelTests):  # type: ignore[misc]
    __test__ = False  # run by the test below, with our kernelspec in place

    kernel_name = "mulligan"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [{"text": "zi", "matches": {"zip"}}]  # noqa: RUF012
    complete_code_samples = ["1", "print('hi')", "def f(x):\n  return x\n\n"]  # noqa: RUF012
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2"]  # noqa: RUF012
    invalid_code_samples = ["import = 7q"]  # noqa: RUF012
    code_page_something = "zip?"
    code_generate_error = "raise ValueError"
    code_execute_result = [  # noqa: RUF012
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
    ]
    code_display_data = [  # noqa: RUF012
        {"code": "from IPython.display import HTML, display; display(HTML('<b>x</b>'))", "mime": "text/html"}
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"
    support_iopub_welcome = True

    @classmethod
    def tearDownClass(cls) -> None:
        cls.km.shutdown_kernel()  # first: closing the client closes the manager's context
        cls.kc.stop_channels()


class Welcome(jupyter_kernel_test.IopubWelcomeTests):  # type: ignore[misc]
    __test__ = False
    kernel_name = "mulligan"
    support_iopub_welcome = True

    @classmethod
    def tearDownClass(cls) -> None:
        cls.km.shutdown_kernel()
        cls.kc.stop_channels()


def test_it_passes_whole(place: Place) -> None:
    place.install("--empty")
    result = unittest.TestResult()
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    unittest.TestSuite([load(Conformance), load(Welcome)]).run(result)
    assert result.testsRun == 13
    assert (result.failures, result.errors, result.skipped) == ([], [], [])
