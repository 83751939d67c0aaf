"""The arguments of `mulligan agent`, apart from what it does (command.py), which takes longer to import."""

from __future__ import annotations

import argparse
import math
from pathlib import Path


def add(agent: argparse.ArgumentParser) -> None:
    agent.description = (
        "A model writes Python for the task; each action is a step of a session, and what comes of it goes back to the "
        "model, until it has an answer. Any model that litellm reaches, or a server that speaks OpenAI's protocol."
    )
    add = agent.add_argument
    add("task", nargs="?", metavar="TASK", help="what is to be done; - reads it from standard input")
    add(
        "--model",
        metavar="MODEL",
        help="as litellm has it: gpt-4o, anthropic/..., openai/NAME with --api-base",
    )
    add(
        "--api-base",
        metavar="URL",
        help="a server that speaks OpenAI's protocol, such as http://localhost:8000/v1",
    )
    add("--no-stream", action="store_true", help="for servers that cannot stream")
    add("--turns", type=_count, default=30, metavar="N", help="replies of the model (default: 30)")
    add("--tokens", type=_count, metavar="N", help="tokens, of prompts and replies together")
    add("--cost", type=_amount, metavar="DOLLARS", help="at the prices that litellm knows")
    add("--wall", type=_amount, metavar="SECONDS", help="for the whole task")
    add("--on-error", choices=("keep", "undo"), default="keep", help="what becomes of an action that failed")
    add(
        "--judge",
        metavar="COMMAND",
        help="run at the end, in the sandbox; what it rejects is undone and tried again",
    )
    add("--attempts", type=_count, default=3, metavar="N", help="answers that are judged (default: 3)")
    add(
        "--record",
        type=Path,
        metavar="FILE",
        help="write what is said and done to this file, a JSON object a line",
    )
    add("--notebook", type=Path, metavar="FILE", help="and make a notebook of the recording at the end")
    add(
        "--resume",
        type=Path,
        metavar="FILE",
        help="go on from a recording, with its task or with a further one",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def _amount(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not 0 < amount < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return amount
