"""Measurements of Mulligan beside what people would use instead. `python -m bench` from the repository's top."""
