#!/bin/sh
# Makes sure that a Docker engine answers: installs and starts one where this user may. May be repeated.
set -eu

LOG=${MULLIGAN_ENGINE_LOG:-/var/log/mulligan-dockerd.log}
WAIT=60 # seconds

say() { echo "engine: $*"; }
fail() { echo "engine: $*" >&2; exit 1; }

# What an engine says to a ping, whoever asks: curl, the docker command or Python, whichever is there.
answers() {
    host=${DOCKER_HOST:-unix:///var/run/docker.sock}
    if command -v docker >/dev/null 2>&1; then
        docker version --format '{{.Server.Version}}' >/dev/null 2>&1
    elif command -v curl >/dev/null 2>&1 && [ "${host#unix://}" != "$host" ]; then
        [ "$(curl -s --max-time 5 --unix-socket "${host#unix://}" http://localhost/_ping)" = OK ]
    else
        [ -S "${host#unix://}" ]
    fi
}

if answers; then
    say "one answers already"
    exit 0
fi
if [ -n "${DOCKER_HOST:-}" ]; then
    fail "DOCKER_HOST is $DOCKER_HOST and nothing answers there; unset it to use this machine's own engine"
fi
if [ "$(id -u)" -ne 0 ]; then
    if [ -S /var/run/docker.sock ] && [ ! -w /var/run/docker.sock ]; then
        fail "there is one that this user may not use: sudo usermod -aG docker $(id -un), and log in again"
    fi
    fail "none answers, and only root may start one: sudo $0   (or go without: isolation='bubblewrap')"
fi

if ! command -v dockerd >/dev/null 2>&1; then
    command -v apt-get >/dev/null 2>&1 || fail "dockerd is not installed, and this is no Debian: install Docker by hand"
    say "installing docker.io"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || fail "apt-get update failed"
    apt-get install -qq -y --no-install-recommends docker.io iptables >/dev/null || fail "docker.io was not installed"
fi

# The installation, or the machine's own service manager, may have started it.
if [ -d /run/systemd/system ] && ! answers; then
    say "starting docker.service"
    systemctl start docker || say "systemd did not start it"
fi
if ! answers; then
    say "starting dockerd in the background, log in $LOG"
    rm -f /var/run/docker.pid
    nohup setsid dockerd >"$LOG" 2>&1 </dev/null &
    started=$!
fi

left=$WAIT
until answers; do
    if [ -n "${started:-}" ] && ! kill -0 "$started" 2>/dev/null; then
        tail -n 15 "$LOG" >&2
        fail "dockerd ended; that was the end of $LOG"
    fi
    [ "$left" -gt 0 ] || fail "none answered within $WAIT seconds${started:+; see $LOG}"
    left=$((left - 1))
    sleep 1
done
say "one answers"
