"""Where the sandbox is to be had, in the words that every command has for it."""

from __future__ import annotations

import argparse


def add_place(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--isolation", choices=("auto", "docker", "bubblewrap"), default="auto", help="default: auto")
    add("--image", metavar="IMAGE", help="the Docker image to use")
    add("--python", metavar="PATH", help="the interpreter that bubblewrap's sandbox uses")
