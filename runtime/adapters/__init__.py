"""Mulligan in the place that other libraries have for code: one module for each, which alone speaks it."""
