"""A server on loopback that speaks OpenAI's chat completions and says what it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Say:
    """One answer. With `stops` the text is cut at the request's stop strings, as servers do."""

    text: str = ""
    finish: str = "stop"
    stops: bool = True
    #: what the request is answered with instead: a status, its headers
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    #: the body as it is, the connection's end in the middle of it, or no answer until the server is closed
    raw: bytes | None = None
    dies: bool = False
    hangs: bool = False
    calls: bool = False
    tokens: tuple[int, int] = (100, 20)


class Server:
    """A context manager. Answers the requests in turn, with the last answer again and again; `asked` are the bodies."""

    def __init__(self, answers: Sequence[Say | str | Callable[[dict[str, Any]], str]] = ()) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        handler = type("Bound", (_Handler,), {"ours": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def next(self, body: dict[str, Any]) -> Say:
        with self._lock:
            self.asked.append(body)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Say):
            return answer
        return Say(answer if isinstance(answer, str) else answer(body))

    def last(self, role: str = "user") -> str:
        """What it was told last, as text."""
        content = [each["content"] for each in self.asked[-1]["messages"] if each["role"] == role][-1]
        return content if isinstance(content, str) else str(content[0]["text"])

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    ours: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        say = self.ours.next(body)
        if say.hangs:
            self.ours.closing.wait(60)
            return
        if say.raw is not None:
            self._send(200, say.raw)
        elif say.status != 200:
            self._send(say.status, json.dumps({"error": {"message": say.text or "no"}}).encode(), say.headers)
        elif body.get("stream"):
            self._stream(body, say)
        elif not say.dies:
            self._send(200, json.dumps(_whole(body, say)).encode())

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, body: dict[str, Any], say: Say) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        text = _cut(body, say)
        for at in range(0, len(text), 7):
            self._chunk({"content": text[at : at + 7]}, None)
        if say.dies:
            return
        self._chunk({"tool_calls": [_CALL]} if say.calls else {}, say.finish)
        self._event({"choices": [], "usage": _usage(say)})
        self.wfile.write(b"data: [DONE]\n\n")

    def _chunk(self, delta: dict[str, Any], finish: str | None) -> None:
        self._event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def _event(self, said: dict[str, Any]) -> None:
        head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
        self.wfile.write(b"data: " + json.dumps(head | said).encode() + b"\n\n")
        self.wfile.flush()


_CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "python", "arguments": "{}"}}


def _cut(body: dict[str, Any], say: Say) -> str:
    text = say.text
    for stop in body.get("stop") or () if say.stops else ():
        text = text.partition(stop)[0]
    return text


def _usage(say: Say) -> dict[str, int]:
    prompt, reply = say.tokens
    return {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply}


def _whole(body: dict[str, Any], say: Say) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": _cut(body, say)}
    if say.calls:
        message |= {"content": None, "tool_calls": [_CALL]}
    choice = {"index": 0, "message": message, "finish_reason": say.finish}
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "scripted"}
    return {**head, "choices": [choice], "usage": _usage(say)}
