"""The one way out of a sandbox that may use the network: a proxy on the host, which judges each request.

    proxy.py         takes connections from the sandbox's loopback, one thread each
    conversation.py  what is said on one connection: requests, or a tunnel
    exchange.py      one request: judged, recorded, sent, answered
    tunnel.py        CONNECT: looked into where a rule needs that, else carried by host alone
    relay.py         both ways at once; splicing.py: past this process; tls.py: in large pieces
    kept.py          connections to the world that the next request may use
    wire.py          bytes, with bounds and deadlines; heads.py: strict messages; bodies.py: what follows them
    hosts.py         one spelling for a host; addresses.py: which addresses may be dialled; dialing.py: dials them
    authority.py     certificates of the session's own; trust.py: whom the proxy itself believes
    judgement.py     what it asks of whoever judges and records

It knows no policy and no ledger: both are given from outside. h11 and cryptography are imported by sessions that use
the network, and by no other (`pip install 'mulligan[network]'`).
"""
