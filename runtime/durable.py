"""Making many files durable. An fsync waits for the disk's journal, and those that wait together wait once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOGETHER = 16


def sync_open(descriptors: Iterable[int]) -> None:
    """fsync each; returns when all are on the disk. Raises the OSError of one that is not."""
    with ThreadPoolExecutor(TOGETHER, thread_name_prefix="mulligan-sync") as pool:
        for _ in pool.map(os.fsync, descriptors):
            pass


def sync_files(paths: Iterable[Path]) -> None:
    """As `sync_open`, for files and folders by path."""
    with ThreadPoolExecutor(TOGETHER, thread_name_prefix="mulligan-sync") as pool:
        for _ in pool.map(_sync, paths):
            pass


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
