"""`python -m bench [steps|files|open|kernel|density|egress|library|tools|repl] [--json] [--quick] [--isolation NAME]
[--part NAME]`.

Measures and prints; it judges no machine.
"""

from __future__ import annotations

import argparse
import json

from bench import density, egress, files, kernel, library, opening, repl, steps, tools
from bench.measure import show

BENCHMARKS = {
    "steps": steps.measure,
    "files": files.measure,
    "open": opening.measure,
    "kernel": kernel.measure,
    "density": density.measure,
    "egress": egress.measure,
    "library": library.measure,
    "tools": tools.measure,
    "repl": repl.measure,
}

#: those that can be measured in parts: by the number of files, and one large file
PARTED = {"files": files.measure, "open": opening.measure}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("which", nargs="?", choices=[*BENCHMARKS, "all"], default="all")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each benchmark")
    parser.add_argument(
        "--quick", action="store_true", help="few rounds and small heaps: does it run at all?"
    )
    parser.add_argument(
        "--isolation", action="append", choices=steps.ISOLATIONS, help="one or more; default: both"
    )
    parser.add_argument(
        "--part", action="append", choices=files.PARTS, help="of files and open, one or more; default: all"
    )
    asked = parser.parse_args()
    if asked.part and asked.which not in PARTED:
        parser.error(f"--part is for {' and '.join(PARTED)}")
    for name, measure in BENCHMARKS.items():
        if asked.which in (name, "all"):
            isolations = asked.isolation or steps.ISOLATIONS
            if name in PARTED:
                report = PARTED[name](asked.quick, isolations, asked.part or files.PARTS)
            else:
                report = measure(asked.quick, isolations)
            if asked.json:
                print(json.dumps(report))
            else:
                show(report)


if __name__ == "__main__":
    main()
