"""What nothing more is known of: sizes. Needs no contents, and so is always to be had."""

from __future__ import annotations

from mulligan.runtime.diffs.detail import Detail, counted


def compare_sizes(before: int | None, after: int | None, notes: tuple[str, ...] = ()) -> Detail:
    """`before` and `after` are in bytes; None where there was no file."""
    sizes = [size for size in (before, after) if size is not None]
    said = " → ".join(counted(size, "byte") for size in sizes)
    if len(set(sizes)) == 1 and len(sizes) == 2:
        said = f"{counted(sizes[0], 'byte')}, of which some differ"
    counts = {"bytes_before": before or 0, "bytes_after": after or 0}
    return Detail("binary", said, counts, notes=notes)
