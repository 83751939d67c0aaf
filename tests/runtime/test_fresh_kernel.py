"""What a kernel has loaded before any action, and what it has only put off."""

from __future__ import annotations

from mulligan import Session


def test_no_module_of_the_guests_can_be_imported_by_its_name(session: Session) -> None:
    said = session.run(
        """
import importlib.util, sys
names = ("channel", "entry", "later", "links", "memory", "output", "plain", "signing", "start", "streams", "twin")
print([name for name in names if importlib.util.find_spec(name)], [path for path in sys.path if "mulligan" in path])
"""
    ).outcome.stdout
    assert said == "[] []\n"


def test_the_jupyter_client_that_is_put_off_starts_when_it_is_asked(session: Session) -> None:
    said = session.run(
        """
import sys
print("jupyter_client.manager" in sys.modules)
import jupyter_client
from jupyter_client import *
from jupyter_client import KernelManager, write_connection_file
print(KernelManager.__module__, jupyter_client.session.Session.__name__, jupyter_client.__version__[0].isdigit())
print(jupyter_client.manager is sys.modules["jupyter_client.manager"], "__getattr__" in vars(jupyter_client))
try:
    jupyter_client.what_it_has_not
except AttributeError:
    print("as any module")
"""
    ).outcome.stdout
    assert said == "False\njupyter_client.manager Session True\nTrue False\nas any module\n"


def test_what_is_run_beforehand_leaves_no_number_no_history_and_no_result(session: Session) -> None:
    said = session.run("print(get_ipython().execution_count, In, Out)").outcome.stdout
    assert said == "2 ['', 'print(get_ipython().execution_count, In, Out)'] {}\n"
