"""A package whose own start is put off until somebody asks for something that it brings."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any


def package(name: str) -> ModuleType:
    """`name` as Python's imports will find it from now on: its modules can be imported, and with the first look for
    anything else it starts, as it would have at once. Raises ImportError."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"there is no {name}", name=name)
    module, loader = importlib.util.module_from_spec(spec), spec.loader

    def start(attribute: str) -> Any:
        if module.__dict__.pop("__getattr__", None) is not None:
            loader.exec_module(module)
        return getattr(module, attribute)

    module.__dict__["__getattr__"] = start
    sys.modules[name] = module
    return module
