"""The process apart that speaks litellm, the only module that does. Started by served.py, as `python -m`.

Apart, because litellm takes seconds to import, prints to standard output, keeps event loops and connections of its own
for as long as a process lives, and cannot be told to give up a request: a task of this process can be cancelled.

On standard input a JSON object a line, {id, ask: {...}} or {id, drop: true}; on standard output {id, piece},
{id, thought}, and in the end {id, reply: {...}} or {id, failed: {...}}. It ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO

Json = dict[str, Any]
Tell = Callable[[Json], None]

#: kinds of failure by the name of litellm's exception, the others by their status
_KINDS = {
    "ContextWindowExceededError": "long",
    "AuthenticationError": "unusable",
    "PermissionDeniedError": "unusable",
    "NotFoundError": "unusable",
    "UnsupportedParamsError": "unusable",
    "BadRequestError": "refused",
    "ContentPolicyViolationError": "refused",
    "Timeout": "passing",
}


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # litellm prints
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or importing it asks a server for prices
    asyncio.run(_serve(sys.stdin.buffer, answers))


async def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    tasks: dict[int, asyncio.Task[None]] = {}
    while line := await asyncio.to_thread(requests.readline):
        request = json.loads(line)
        number = int(request["id"])
        if "ask" in request:
            tasks[number] = asyncio.ensure_future(_answer(number, request["ask"], answers))
            tasks[number].add_done_callback(partial(_forget, tasks, number))
        elif number in tasks:
            tasks[number].cancel()
    os._exit(0)  # what is under way has nobody to go to


def _forget(tasks: dict[int, asyncio.Task[None]], number: int, _: asyncio.Task[None]) -> None:
    tasks.pop(number, None)


async def _answer(number: int, ask: Json, answers: BinaryIO) -> None:
    def tell(said: Json) -> None:
        answers.write(json.dumps({"id": number, **said}).encode() + b"\n")
        answers.flush()

    try:
        tell({"reply": await _asked(ask, tell)})
    except Exception as error:
        tell({"failed": _failure(error)})


async def _asked(ask: Json, tell: Tell) -> Json:
    import litellm

    litellm.suppress_debug_info = True
    litellm.drop_params = True  # a model that knows no stop strings is asked without
    if ask.pop("know", None):
        return {"sees": bool(litellm.supports_vision(ask["model"]))}
    if not ask.get("api_base") and not ask.get("api_key"):
        _check_keys(litellm, ask["model"])
    seconds = ask.pop("seconds", None)
    async with asyncio.timeout(seconds):
        return await _complete(litellm, ask, tell)


class _KeyMissing(Exception):
    pass


def _check_keys(litellm: Any, model: str) -> None:
    known = litellm.validate_environment(model)
    if not known["keys_in_environment"] and known["missing_keys"]:
        raise _KeyMissing(f"{model} needs {' and '.join(known['missing_keys'])} in the environment")


async def _complete(litellm: Any, ask: Json, tell: Tell) -> Json:
    if not ask["stream"]:
        return _told(litellm, await litellm.acompletion(**ask, num_retries=0, max_retries=0))
    options = {"include_usage": True}
    stream = await litellm.acompletion(**ask, stream_options=options, num_retries=0, max_retries=0)
    chunks = []
    async for chunk in stream:
        chunks.append(chunk)
        delta = chunk.choices[0].delta if chunk.choices else None
        if thought := getattr(delta, "reasoning_content", None):
            tell({"thought": thought})
        if piece := getattr(delta, "content", None):
            tell({"piece": piece})
    return _told(litellm, litellm.stream_chunk_builder(chunks, messages=ask["messages"]))


def _told(litellm: Any, answer: Any) -> Json:
    choice = answer.choices[0]
    usage = getattr(answer, "usage", None)
    return {
        "text": choice.message.content or "",
        "finish": choice.finish_reason or "",
        "reasoning": getattr(choice.message, "reasoning_content", None) or "",
        "tokens": int(getattr(usage, "total_tokens", 0) or 0),
        "cost": _cost(litellm, answer),
        "calls": bool(getattr(choice.message, "tool_calls", None)),
    }


def _cost(litellm: Any, answer: Any) -> float | None:
    hidden = getattr(answer, "_hidden_params", None) or {}
    if (known := hidden.get("response_cost")) is not None:
        return float(known)
    try:
        return float(litellm.completion_cost(completion_response=answer))
    except Exception:  # whatever it raises, it says that no price is known
        return None


def _failure(error: Exception) -> Json:
    name, status = type(error).__name__, getattr(error, "status_code", None)
    kind = _KINDS.get(name) or ("passing" if status is None or status == 429 or status >= 500 else "refused")
    if isinstance(error, _KeyMissing | ImportError | TypeError):
        kind = "unusable"
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    said = str(getattr(error, "message", None) or error) or name
    if isinstance(error, TimeoutError):
        kind, said = "passing", "no reply in time"
    return {"kind": kind, "status": status, "said": said[:2000], "after": headers.get("retry-after")}


if __name__ == "__main__":
    main()
