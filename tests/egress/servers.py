"""Real servers on loopback, a certificate authority that signs for them, and a judge whose rules a test can read."""

from __future__ import annotations

import datetime
import fnmatch
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mulligan.sandbox.egress.judgement import Answered, Asked, Judgement


class Handler(BaseHTTPRequestHandler):
    """Answers with what it was asked, as JSON. /bytes/N gives N bytes, /chunks/N as many in chunks, /status/N that
    status, /to?URL a redirect, /slow nothing until the test ends."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self._chunks() if self.headers.get("Transfer-Encoding") else self.rfile.read(length)
        self.server.seen.append(f"{self.command} {self.path}")
        self.server.ports.append(self.client_address[1])
        kind, _, rest = self.path.lstrip("/").partition("/")
        if kind == "bytes":
            return self._answer(b"x" * int(rest))
        if kind == "chunks":
            return self._in_chunks(int(rest))
        if kind == "status":
            return self._answer(b"" if rest in ("204", "304") else rest.encode(), int(rest))
        if self.path.startswith("/to?"):
            return self._answer(b"", 302, location=self.path.partition("?")[2])
        if kind == "slow":
            self.server.ended.wait()
            return None
        told = {"method": self.command, "path": self.path, "body": body.decode("latin-1")}
        self._answer(json.dumps({**told, "headers": self.headers.items()}).encode())

    do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = do_GET

    def _answer(self, body: bytes, status: int = 200, location: str = "") -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _in_chunks(self, size: int) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while size > 0:
            piece = min(size, 10_000)
            self.wfile.write(b"%x\r\n" % piece + b"x" * piece + b"\r\n")
            size -= piece
        self.wfile.write(b"0\r\n\r\n")

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *args: Any) -> None: ...


class Server(ThreadingHTTPServer):
    """`seen`: every request that arrived, as "METHOD path"; `ports`: from where, one a connection."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler] = Handler) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.seen: list[str] = []
        self.ports: list[int] = []
        self.ended = threading.Event()

    @property
    def port(self) -> int:
        return self.server_port

    def handle_error(self, request: Any, client_address: Any) -> None: ...


@contextmanager
def serving(
    context: ssl.SSLContext | None = None, handler: type[BaseHTTPRequestHandler] = Handler
) -> Iterator[Server]:
    server = Server(handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()


class TestAuthority:
    """Signs for servers on this machine; whoever believes `pem` believes them."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test")])
        self._folder = folder
        self.pem = folder / "ca.pem"
        basic = x509.BasicConstraints(ca=True, path_length=None)
        built = self._built(self._name, self._key).add_extension(basic, critical=True)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self.pem.write_bytes(self._sign(built.add_extension(usage, critical=True)))

    def context(self, *names: str) -> ssl.SSLContext:
        """For a server of these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        built = self._built(subject, key).add_extension(alternatives, critical=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain = self._folder / f"{names[0]}.pem"
        chain.write_bytes(private + self._sign(built.add_extension(issuer, critical=False)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context

    def _built(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        return (
            x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )

    def _sign(self, built: x509.CertificateBuilder) -> bytes:
        return built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass
class Rules:
    """A judge and a journal. `allow` are globs over "METHOD scheme://host:port/path" (a tunnel: "CONNECT
    https://host:port"); hosts in `inside` are looked into; everything that is allowed may be private."""

    allow: Sequence[str] = ("*",)
    inside: Sequence[str] = ("*",)
    private: bool = True
    log: list[str] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)
    denials: list[tuple[Asked, Judgement]] = field(default_factory=list)
    look_ups: list[str] = field(default_factory=list)

    def judge(self, asked: Asked) -> Judgement:
        text = f"{asked.method} {asked.scheme}://{asked.host}:{asked.port}{asked.path}"
        for rule in self.allow:
            if fnmatch.fnmatchcase(text, rule):
                return Judgement(allowed=True, rule=rule, reason="a rule allows it", private=self.private)
        return Judgement(allowed=False, rule="none", reason="no rule allows it", instead="ask for a rule")

    def needs_inside(self, host: str, port: int) -> bool:
        return any(fnmatch.fnmatchcase(host, glob) for glob in self.inside)

    def leaving(self, asked: Asked, judgement: Judgement) -> int:
        self.log.append(str(asked))
        return len(self.log)

    def looking_up(self, asked: Asked, judgement: Judgement) -> None:
        self.look_ups.append(asked.host)

    def answered(self, number: int, answered: Answered) -> None:
        self.answers.append(answered)

    def denied(self, asked: Asked, judgement: Judgement) -> None:
        self.denials.append((asked, judgement))


class Names:
    """A resolver with a table. `asked` are the names that were looked up."""

    def __init__(self, **table: Sequence[str]) -> None:
        self.table = {name.replace("_", "."): list(addresses) for name, addresses in table.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.table:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return self.table[host]
