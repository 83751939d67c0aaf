"""Whom the proxy believes, and whom the sandbox does: the same, and the session's own authority besides."""

from __future__ import annotations

import ssl


def upstream() -> ssl.SSLContext:
    """For connections to the world: the system's roots (or SSL_CERT_FILE's), where it has none those of certifi."""
    context = ssl.create_default_context()
    if not context.get_ca_certs():
        import certifi

        context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def bundle(context: ssl.SSLContext, own: bytes) -> bytes:
    """PEM for the sandbox."""
    roots = "".join(ssl.DER_cert_to_PEM_cert(each) for each in context.get_ca_certs(binary_form=True))
    return own + roots.encode()
