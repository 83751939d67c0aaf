"""What a line for a shell seems about to do, for `source.py`: words are looked for, no shell is understood. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

Found = tuple[str, str]  # a kind of `source.KINDS`, and the words

#: characters of one text that are looked into
LOOKED_INTO = 20_000
#: commands, by what they do; the first words of one, after `sudo` and the like
_COMMANDS = {
    "deletes": "rm rmdir unlink shred truncate wipefs mkfs docker-rm",
    "writes": "tee mv cp dd ln install chmod chown chattr touch mkdir sed crontab useradd passwd visudo",
    "network": "curl wget nc ncat netcat socat ssh scp sftp rsync ftp telnet ping dig nslookup host nmap",
    "runs": "bash sh zsh python python3 perl ruby node nohup eval exec kill pkill killall make gcc",
    "installs": "apt apt-get yum dnf apk brew npm yarn pip pip3 pipx uv conda mamba gem cargo",
}
_KIND = {word: kind for kind, words in _COMMANDS.items() for word in words.split()}
_INSTALLING = re.compile(r"\b(install|add|i|ci|sync|upgrade|update)\b")
_GIT_OUT = re.compile(r"^git\s+(clone|push|pull|fetch|remote|ls-remote|submodule)\b")
_BEFORE = re.compile(r"^(sudo|env|time|nice|nohup|xargs|exec|then|do|else|\w+=\S*|-\S+)\s+")
_PIECE = re.compile(r"\|\||&&|[;|&\n]|\$\(|`")
_INTO_FILE = re.compile(r"(?<![0-9&<])>>?\s*([^\s&|;>]+)")
_URL = re.compile(
    r"\b(?:https?|wss?|ftps?|ssh|git|s3|gs|tcp|postgres(?:ql)?|mysql|redis|mongodb)://[^\s'\"<>()]{1,300}"
)
_HOST = re.compile(r"^[a-z0-9+]+://(?:[^/@]*@)?(\[[^\]]*\]|[^/:?#]*)")
_DEVICE = re.compile(r"/dev/(?:tcp|udp)/([^/\s]+)/")
#: what holds secrets or says who is who, wherever it lies
_SENSITIVE = re.compile(
    r"(?:/etc/(?:passwd|shadow|sudoers|hosts|ssh)|/root\b|/proc/(?:\d+|self|1)/(?:environ|mem|maps)|/var/run/docker\.sock"
    r"|/run/secrets|\.ssh\b|\.aws\b|\.gnupg\b|\.kube\b|\.docker/config|\.netrc\b|\.pgpass\b|\.npmrc\b|\.pypirc\b"
    r"|\.git-credentials\b|\.bash_history\b|(?<![\w.])\.env\b|id_(?:rsa|ed25519|ecdsa)\b|\.pem\b|169\.254\.169\.254"
    r"|/etc/cron|\.(?:bash|zsh)rc\b|\.profile\b|authorized_keys\b|wallet\.dat\b|cookies\.sqlite\b)"
)


def in_line(line: str) -> Iterator[Found]:
    """What one command, or a line of several, seems about to do."""
    line = line[:LOOKED_INTO]
    for piece in _PIECE.split(line):
        yield from _in_command(piece.strip())
    for target in _INTO_FILE.findall(line):
        if target != "/dev/null":
            yield "writes", target
    yield from in_text(line)


def _in_command(piece: str) -> Iterator[Found]:
    for _ in range(5):  # words that stand before a command
        piece, changed = _BEFORE.subn("", piece, count=1)
        if not changed:
            break
    word = piece.partition(" ")[0].rpartition("/")[2]
    kind = _KIND.get(word)
    if kind == "installs" and not _INSTALLING.search(piece):
        return
    if kind is None and _GIT_OUT.match(piece):
        kind = "network"
    if kind is None and re.match(r"find\b.*\s-delete\b", piece):
        kind = "deletes"
    if kind is not None:
        yield kind, piece


def in_text(text: str) -> Iterator[Found]:
    """What any text names: hosts in addresses, and places that hold secrets."""
    text = text[:LOOKED_INTO]
    for url in _URL.findall(text):
        if (host := _HOST.match(url)) is not None and host[1]:
            yield "network", host[1]
    for host_name in _DEVICE.findall(text):
        yield "network", host_name
    for place in _SENSITIVE.finditer(text):
        yield "sensitive", text[max(0, place.start() - 40) : place.end() + 20].strip()
