"""Functions of the host that code in a sandbox may call: the one way from inside to what the embedder handed over.

    declared.py   what the embedder says of a function, and how it is called
    tool.py       one function: its signature as data, its arguments and its result checked
    spelling.py   types, as text and data that the guest makes its own from
    values.py     values as JSON, with what JSON has no word for; wire.py: messages, bounded
    server.py     takes the calls, a thread each; pending.py: those under way, which nobody waits for without end
    failures.py   an exception as it is shown inside, without a traceback, a path or a secret
    overseer.py   what is asked of whoever judges and records

The socket `tools.sock` lies beside the door in the folder that is mounted read-only, so nothing inside can take its
place. It knows no policy and no ledger: both are given from outside.
"""
