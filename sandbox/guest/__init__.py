"""What runs inside the sandbox: a supervisor (process 1), a worker (the kernel) and the worker's frozen twins.

Shipped into the sandbox read-only as the package `mulligan_guest`. It imports the standard library, pyzmq,
jupyter_client.session, IPython and ipykernel, and nothing of mulligan. Python 3.10 and newer.
"""
