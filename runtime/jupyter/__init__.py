"""A session as a Jupyter kernel: what any Jupyter client connects to, with undo.

One process of ours a kernel, on the host's side (docs/decisions/0020). It holds the client's key, opens a session and
relays between the two:

    main thread        `host`    the five sockets, control requests, heartbeat
    the cells' thread  `cells`   shell requests in their order; each execution is a step
    the session's      Story     speaks with the sandbox; what comes of it goes into the outbox
"""
