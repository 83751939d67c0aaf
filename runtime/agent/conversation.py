"""What has been said between an agent and its model, as the messages that the model is given."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mulligan.runtime.agent import prompts
from mulligan.runtime.agent.fence import fence
from mulligan.runtime.agent.model import Message
from mulligan.sandbox.printable import one_line

#: names of the working folder that are told, and characters that remain of an observation that was shortened
NAMES, REMAINS = 40, 200
#: characters of all that is said of the tools
TOLD = 60_000


class Conversation:
    """Grows by what is said; only `shorten` takes from it. `controls`: final_answer and its like can be called; `tools`
    are further functions, described one a text."""

    def __init__(self, *, controls: bool = False, tools: Sequence[str] = (), instructions: str = "") -> None:
        self.controls = controls
        #: told of each message as it was said, before two of one side become one
        self.on_message: Callable[[Message], None] = lambda message: None
        parts = [prompts.say("system"), prompts.say("controls" if controls else "no_controls")]
        if tools:
            parts.append(f"{prompts.say('tools')}\n{fence(_bounded(tools), 'signatures and docstrings')}")
        if instructions:
            parts.append(instructions)
        self._messages: list[Message] = [{"role": "system", "content": "\n\n".join(parts)}]

    @property
    def messages(self) -> Sequence[Message]:
        return self._messages

    def begin(self, task: str, workspace: Path | None = None) -> None:
        text = f"{prompts.say('task')}\n{task}"
        if workspace is not None and (names := _names(workspace)):
            text += "\n\n" + fence(names, prompts.say("workspace"))
        self._say({"role": "user", "content": text})

    def go_on(self, messages: Sequence[Message]) -> None:
        """From one that was recorded."""
        for message in messages:
            self._add(message)

    def heard(self, reply: str) -> None:
        self._say({"role": "assistant", "content": reply})

    def tell(self, text: str, images: Sequence[str] = ()) -> None:
        parts = [{"type": "image_url", "image_url": {"url": url}} for url in images]
        self._say({"role": "user", "content": [{"type": "text", "text": text}, *parts] if parts else text})

    def shorten(self) -> bool:
        """Leave out half of the observations that are still whole, the oldest; never the newest. Whether there was
        any."""
        whole = [
            n
            for n, each in enumerate(self._messages[:-1])
            if n > 1 and each["role"] == "user" and _long(each)
        ]
        for n in whole[: (len(whole) + 1) // 2]:
            content = self._messages[n]["content"]
            text = content if isinstance(content, str) else content[0]["text"]
            head = text.partition("\n")[0][:REMAINS]
            self._messages[n] = {"role": "user", "content": f"{head}\n({prompts.say('long')})"}
        return bool(whole)

    def _say(self, message: Message) -> None:
        self.on_message(message)
        self._add(message)

    def _add(self, message: Message) -> None:
        """What one side says twice in a row is one message: some servers take no others."""
        last, content = self._messages[-1], message["content"]
        if last["role"] == message["role"] and isinstance(last["content"], str) and isinstance(content, str):
            self._messages[-1] = {**last, "content": f"{last['content']}\n\n{content}"}
        else:
            self._messages.append(message)


def _bounded(tools: Sequence[str]) -> str:
    told: list[str] = []
    for each in tools:
        if sum(map(len, told)) + len(each) > TOLD:
            break
        told.append(each)
    more = len(tools) - len(told)
    said = f"and {more:,} more: dir(tools) lists them, help(NAME) shows one"
    return "\n\n".join([*told, *([said] if more else [])])


def _long(message: Message) -> bool:
    return not isinstance(message["content"], str) or len(message["content"]) > 2 * REMAINS


def _names(folder: Path) -> str:
    """Of the folder's first level, one a line."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(one_line(each.name) + "/" * each.is_dir(follow_symlinks=False) for each in entries)
    except OSError:
        return ""
    more = [f"and {len(names) - NAMES} more"] if len(names) > NAMES else []
    return "\n".join(names[:NAMES] + more)
