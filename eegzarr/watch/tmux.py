"""A command in a tmux session, with the monitor of its run beside it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from eegzarr.errors import EegzarrError, UsageError


def start_beside_monitor(arguments: Sequence[str], run: str) -> int:
    """Start ``eegzarr.train`` with `arguments` on the left and ``eegzarr.monitor`` on the right.

    The session continues when the terminal is closed. On a terminal it is attached, inside tmux switched to.

    Raises
    ------
    UsageError
        If there is no tmux, or a session of this run.
    EegzarrError
        If tmux can't start one.
    """
    if shutil.which("tmux") is None:
        raise UsageError("--tmux needs tmux: install it, or leave --tmux out")
    session = f"eegzarr-{Path(run).name}".replace(".", "-").replace(":", "-")
    if _tmux("has-session", "-t", f"={session}").returncode == 0:
        raise UsageError(f"a tmux session {session} is there already: tmux attach -t {session}")
    train = shlex.join([sys.executable, "-m", "eegzarr.train", *arguments])
    monitor = shlex.join([sys.executable, "-m", "eegzarr.monitor", run, "--wait", "300"])
    # A shell stays behind the command, so that its last words can be read.
    made = _tmux("new-session", "-d", "-s", session, "-x", "200", "-y", "50", f"{train}; exec $SHELL")
    if made.returncode:
        raise EegzarrError(f"tmux could not start a session: {made.stderr.strip()}")
    split = _tmux("split-window", "-h", "-t", f"={session}:", f"{monitor}; exec $SHELL")
    if split.returncode:
        raise EegzarrError(f"tmux could not split its window for the monitor: {split.stderr.strip()}")
    if sys.stdout.isatty() and sys.stdin.isatty():
        # Inside tmux a session can't be attached, only switched to.
        show = "switch-client" if os.environ.get("TMUX") else "attach"
        return subprocess.run(["tmux", show, "-t", f"={session}"], check=False).returncode
    print(f"started in the tmux session {session}: tmux attach -t {session}")
    return 0


def _tmux(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["tmux", *arguments], capture_output=True, text=True, check=False)
