"""What differs between two moments, for people: which files, and what in them.

    diff.py      a difference as a whole, and each file of it
    renames.py   what went from one name to another
    facts.py     what else than the content changed, in words
    kinds.py     which kinds a content may be compared as, the richest first
    text.py, notebook.py, table.py (with delimited.py and parquet.py), image.py, binary.py: one kind each
    detail.py    what a kind says, as a plain value with bounds
    parsing.py   has contents compared in a process apart; parser_process.py is that process, limits.py its bounds
    lines.py     a difference as lines of text

Contents are hostile. Only `binary` is told in this process; all other kinds are read in the process apart.
"""
