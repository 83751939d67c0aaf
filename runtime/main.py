"""Where `mulligan` begins. The REPL is opened from here, without what only the other commands need: its prompt should
be there at once. All else is cli.py's, which knows the REPL too."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code. Wrong usage raises SystemExit(2), as argparse does."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] != "repl":
        from mulligan.runtime import cli

        return cli.main(words)
    from mulligan.runtime.repl import start

    parser = argparse.ArgumentParser(prog="mulligan repl", description=start.ABOUT, epilog=start.MORE)
    start.add_options(parser)
    chosen = parser.parse_args(words[1:])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = start.main(chosen)
        sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt) as error:
        from mulligan.runtime import cli

        return cli.failed(error, chosen)


if __name__ == "__main__":
    sys.exit(main())
