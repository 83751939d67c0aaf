"""The library: functions that an agent wrote and that proved useful, kept so that later sessions can import them.

    reading.py, scopes.py    the source of a step as definitions, and which names a piece of it needs
    constant.py              which values may come along: constants, and not what the session worked out
    harvest.py               the routines of a step, each with all that it needs, and why the others are none
    naming.py                what a routine may be called

Whatever is read here was written inside a sandbox. It is parsed, within bounds, and never imported or run by the host.
"""
