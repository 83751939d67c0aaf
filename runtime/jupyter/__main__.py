"""`python -P -m mulligan.runtime.jupyter -f FILE`: one kernel. A kernelspec has this command; clients start it.

`-P`, because it starts in the notebook's folder: a module that agents' code has left there must not be imported here.
"""

from __future__ import annotations

import argparse
import signal
import sys
from functools import partial
from pathlib import Path

from mulligan.policies.errors import PolicyError
from mulligan.policies.loading import load_policy
from mulligan.policies.policy import Policy
from mulligan.runtime.errors import ConnectionFileInvalid
from mulligan.runtime.jupyter.connection import Connection
from mulligan.runtime.jupyter.host import Host
from mulligan.runtime.jupyter.options import add_options
from mulligan.runtime.jupyter.provisioning import Provisioner
from mulligan.runtime.session import open_session
from mulligan.runtime.unlocking import used
from mulligan.sandbox.errors import MulliganError
from mulligan.sandbox.printable import printable

BAD_INPUT, NO_SANDBOX = 2, 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="mulligan.runtime.jupyter", description=__doc__)
    parser.add_argument("-f", dest="connection", type=Path, required=True, metavar="FILE")
    parser.add_argument("--provisioner", type=int, metavar="DESCRIPTOR", help=argparse.SUPPRESS)
    add_options(parser)
    chosen = parser.parse_args()
    provisioner = None if chosen.provisioner is None else Provisioner(chosen.provisioner)
    try:
        return serve(chosen, provisioner)
    except (MulliganError, PolicyError) as error:
        if provisioner is not None:
            provisioner.tell({"error": str(error)})
        print(f"mulligan: {printable(str(error))}", file=sys.stderr)
        return BAD_INPUT if isinstance(error, (ConnectionFileInvalid, PolicyError)) else NO_SANDBOX


def serve(chosen: argparse.Namespace, provisioner: Provisioner | None) -> int:
    policy = load_policy(chosen.policy) if chosen.policy else Policy()
    if used(policy):  # clients hear the sandbox's own messages
        raise PolicyError(
            "a kernel for Jupyter takes no policy with secrets", hint="leave `uses` out of its rules"
        )
    host = Host(Connection.read(chosen.connection), provisioner)
    signal.signal(signal.SIGINT, lambda number, frame: host.interrupt())
    signal.signal(signal.SIGTERM, lambda number, frame: host.stop())
    opening = partial(
        open_session,
        chosen.workspace or (None if chosen.empty else Path.cwd()),
        isolation=chosen.isolation,
        image=chosen.image,
        python=chosen.python,
        kernel=chosen.kernel,
        policy=policy,
        protect=chosen.protect,
        state=chosen.state,
    )
    host.cells.start(opening, _timeout(policy), chosen.at_end)
    try:
        host.serve()
    finally:
        said = host.cells.close()
        host.close()
    if said:
        print(f"mulligan: {printable(said)}", file=sys.stderr)
    if host.cells.failure is not None:
        raise host.cells.failure
    return 0


def _timeout(policy: Policy) -> float:
    """A cell may run as long as it likes, unless a policy says how long."""
    return policy.resources.wall if "wall" in policy.resources.model_fields_set else float("inf")


if __name__ == "__main__":
    sys.exit(main())
