"""The script of both processes: the supervisor, and with a descriptor the worker that speaks on it; with a name too, a
worker before another kernel.

It holds nothing else. What is run as a script Python compiles anew each time, which takes time and leaves a megabyte of
holes behind in each of the two; a module it has compiled already, where the host could keep that.
"""

import sys
from importlib import import_module

sys.path[:] = [path for path in sys.path if not __file__.startswith(path + "/")]  # our own folder
sys.path.insert(0, __file__.rpartition("/")[0].rpartition("/")[0])
process = import_module("mulligan_guest." + ("supervisor", "worker", "foreign")[len(sys.argv) - 1])
sys.path.pop(0)
process.main(*map(int, sys.argv[1:2]), *sys.argv[2:])
