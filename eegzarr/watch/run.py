"""What a fit leaves for others to read: a log, and its state now, as files of the run folder."""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eegzarr.events import BatchEnded, EpochEnded, Event, FitBegan, FitEnded, MemorySampled

STATUS, LOG = "status.json", "log.txt"
_INTERVAL = 1.0  # s between writings of the state
_SHOWN_LOSSES = 200


class RunFiles:
    """A listener that writes ``log.txt`` and ``status.json`` of a run.

    Both begin with the fit: a command that fails before, for a mistake in its options, leaves
    no file. Use it inside a ``with``.

    Parameters
    ----------
    folder : Path
    command : str
        The first line of each process's part of the log.
    """

    def __init__(self, folder: Path, command: str) -> None:
        self._folder = folder
        self._command = command
        self._logger = logging.Logger("eegzarr.train", logging.INFO)
        self._file: logging.FileHandler | None = None
        self._state: dict[str, Any] = {}
        self._early: list[Event] = []
        self._written = 0.0

    def __enter__(self) -> RunFiles:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __call__(self, event: Event) -> None:
        if self._file is None:
            if not isinstance(event, FitBegan):
                self._early.append(event)
                return
            self._open()
            for early in self._early:
                self._note(early)
        self._note(event)
        match event:
            case FitBegan():
                self._state |= asdict(event) | {
                    "pid": os.getpid(),
                    "phase": "training",
                    "losses": [],
                    "began": time.time(),
                    "epoch_at_start": event.epoch + event.batch / max(1, event.batches),
                }
            case BatchEnded():
                losses = [*self._state["losses"], event.loss][-_SHOWN_LOSSES:]
                phase = "training" if event.batch < event.batches else "validating"
                self._state |= asdict(event) | {"losses": losses, "phase": phase}
            case EpochEnded():
                self._state |= {"epoch": event.epoch + 1, "batch": 0, "best_score": event.best_score}
                self._state |= {"valid_score": event.valid_score, "metric": event.metric, "phase": "training"}
                if event.epoch + 1 == event.epochs:
                    self._state["phase"] = "scoring"
            case MemorySampled(tree=tree, machine_used_share=share):
                self._state |= {"tree": tree, "machine_used_share": share}
                return  # comes with each BatchEnded, and is written with the next
            case FitEnded(finished=finished, reason=reason):
                self._state |= {"phase": "finished" if finished else "stopped", "reason": reason}
        self._write(at_once=not isinstance(event, BatchEnded))

    def _note(self, event: Event) -> None:
        if not isinstance(event, BatchEnded | MemorySampled):
            told = " ".join(f"{key}={value}" for key, value in asdict(event).items())
            self._logger.info("%s %s", type(event).__name__, told)

    def _open(self) -> None:
        self._file = logging.FileHandler(self._folder / LOG, encoding="utf8")
        self._file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._logger.addHandler(self._file)
        self._logger.info(self._command)

    def _write(self, at_once: bool) -> None:
        now = time.monotonic()
        if not at_once and now - self._written < _INTERVAL:
            return
        self._written = now
        part = self._folder / f"{STATUS}.partial"
        part.write_text(json.dumps(self._state | {"updated": time.time()}))
        part.replace(self._folder / STATUS)
