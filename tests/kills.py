"""Commands that are killed in the middle of their work, by a process that has imported all that they need.

A command is forked from it, with its worker as a thread, and kills itself after a number of changes to the lake's
files: a kill costs what the command did until then. `test_build.py` kills commands with all of their processes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from clusters import worker_in_this_process
from conftest import SMALL_SHARDS
from moments import is_change

import eegzarr
import eegzarr.build.workers.preload
from eegzarr.build.repair import repair_lake
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.cut.api import cut_lake
from eegzarr.store.verify import verify_lake

OPTIONS: dict[str, Any] = {"recipe": CHALLENGE1, "workers": 1, "shard_size": SMALL_SHARDS}
AGES = replace(CHALLENGE1, target="age")
COMMANDS: dict[str, Callable[[Path, Path], object]] = {
    "build": lambda root, lake: eegzarr.build_lake(root, lake, dtype="float16", **OPTIONS),
    "overwrite": lambda root, lake: eegzarr.build_lake(root, lake, dtype="float16", overwrite=True, **OPTIONS),
    "relabel": lambda root, lake: eegzarr.build_lake(root, lake, **{**OPTIONS, "recipe": AGES}),
    "repair": lambda root, lake: repair_lake(lake, verify_lake(lake), workers=1),
    "whole": lambda root, lake: eegzarr.build_lake(root, lake, recipe="continuous", dtype="int16", workers=1),
    "cut": lambda root, lake: cut_lake(lake, CHALLENGE1),
    "cut otherwise": lambda root, lake: cut_lake(lake, AGES, overwrite=True),
    "store": lambda root, lake: cut_lake(lake, CHALLENGE1, store=True, overwrite=True),
}


class Killer:
    """The process that forks commands."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def changes_of(self, command: str, root: Path, lake: Path) -> int:
        """Run a command to its end; return how often it changed a file of the lake."""
        ended, changes = self._run(command, root, lake, 0, 0.0)
        assert ended == 0, f"{command} failed"
        return changes

    def kill(self, command: str, root: Path, lake: Path, moment: tuple[int, float]) -> None:
        """Run a command until it has made a number of changes, and some ms more."""
        ended, _ = self._run(command, root, lake, *moment)
        assert ended in (-signal.SIGKILL, 0), f"{command} failed"  # 0: was done before

    def _run(self, command: str, root: Path, lake: Path, left: int, later: float) -> tuple[int, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([command, str(root), str(lake), left, later]), file=self._process.stdin, flush=True)
        ended, changes = json.loads(self._process.stdout.readline())
        return ended, changes


@contextmanager
def killer() -> Iterator[Killer]:
    """Run a process that forks commands, inside the ``with``."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, __file__], text=True, **pipes) as process:
        yield Killer(process)
        process.communicate()


def _main() -> None:
    for line in sys.stdin:
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            _run_and_exit(write, *json.loads(line))
        os.close(write)
        _, status = os.waitpid(pid, 0)
        with open(read) as pipe:
            changes = int(pipe.read() or 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), changes]), flush=True)


def _run_and_exit(write: int, command: str, root: str, lake: str, left: int, later: float) -> None:
    changes = 0

    def count(event: str, arguments: tuple) -> None:
        nonlocal changes
        if not is_change(event, arguments) or not _is_in(lake, event, arguments):
            return
        changes += 1
        if changes == left and not later:
            os.kill(os.getpid(), signal.SIGKILL)
        if changes == left:
            threading.Timer(later / 1000, os.kill, [os.getpid(), signal.SIGKILL]).start()

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    try:
        with worker_in_this_process():
            sys.addaudithook(count)
            COMMANDS[command](Path(root), Path(lake))
            os.write(write, str(changes).encode())
            os._exit(0)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def _is_in(lake: str, event: str, arguments: tuple) -> bool:
    # What is removed with its folder is named by its place in that.
    is_in_a_folder = event in ("os.remove", "os.rmdir") and arguments[1] != -1
    return is_in_a_folder or str(arguments[0]).startswith(lake)


if __name__ == "__main__":
    _main()
