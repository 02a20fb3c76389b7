"""The folder of a run: which files it has, and how they are written whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from eegzarr.errors import EegzarrError, FitDiverged, FitStopped, UsageError
from eegzarr.machine.system import Locked, locked
from eegzarr.store.root import check_outside_lakes
from eegzarr.train.models.checkpoint import OUTLINE, outline, read_checkpoint
from eegzarr.train.options import FitOptions, options_json, read_options
from eegzarr.train.task import Task

_PACKAGES = ("eegzarr", "torch", "braindecode", "numpy", "xarray", "zarr", "numcodecs", "mne", "pandas", "optuna")


class RunFolder:
    """Paths and files of a run.

    ``config.json``, ``environment.json`` and ``subjects.json`` are written at its beginning;
    ``last.pt`` is what a run resumes from, ``best.pt`` the model of the best epoch. A run that
    diverged has ``diverged.txt``, which says so.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.subjects = self.path / "subjects.json"
        self.environment = self.path / "environment.json"
        self.last = self.path / "last.pt"
        self.best = self.path / "best.pt"
        self.diverged = self.path / "diverged.txt"
        self.metrics = self.path / "metrics.csv"
        self.predictions = self.path / "predictions.csv"
        self.summary = self.path / "summary.json"
        self.card = self.path / "model-card.md"
        self.log = self.path / "log.txt"
        self.status = self.path / "status.json"

    @property
    def is_begun(self) -> bool:
        """Whether a run was begun here."""
        return self.config.exists()

    @property
    def is_finished(self) -> bool:
        """Whether the run here has its scores."""
        return self.summary.exists()

    def options(self) -> FitOptions:
        """Return the options of the run."""
        return read_options(self.config)

    def task(self) -> Task:
        """Return what the run's model predicts."""
        return Task.from_spec(self.read_json(self.config)["model"])

    def check_not_diverged(self) -> None:
        """Say so if the run here diverged.

        Raises
        ------
        FitDiverged
        """
        if self.diverged.exists():
            raise FitDiverged(self.diverged.read_text(encoding="utf8").strip())

    def read_last(self) -> dict[str, Any]:
        """Return the checkpoint to resume from.

        Raises
        ------
        UsageError
            If it is damaged.
        """
        return read_checkpoint(self.last, self.remedy, needs_outline=True)

    @property
    def remedy(self) -> str:
        """What to do about a damaged checkpoint."""
        return self.begin_anew("it")

    def begin_anew(self, name: str) -> str:
        """Say how to train from the beginning, where the checkpoint, `name`, is of no use."""
        return f"remove {name} and give --resume {self.path} again to train from the beginning"

    def read_json(self, path: Path) -> dict[str, Any]:
        """Return the content of one of the run's JSON files.

        Raises
        ------
        UsageError
            If it isn't there or is none.
        """
        try:
            content: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise UsageError(f"{self.path} holds no finished run: {path.name} is missing") from error
        except ValueError as error:
            raise UsageError(f"{path} is damaged: {error}") from error
        return content

    def begin(
        self,
        options: FitOptions,
        spec: dict[str, Any],
        subjects: dict[str, list[str]],
        plan_digests: dict[str, str],
        device: torch.device,
    ) -> None:
        """Write what the run is determined by."""
        try:
            write_json(self.environment, environment(device))
            write_json(self.subjects, subjects)
            # Last: with it the run is begun.
            content = {"options": options_json(options), "model": spec, "plan_digests": plan_digests}
            write_json(self.config, content)
        except OSError as error:
            raise EegzarrError(f"--out {self.path} can't be written: {error.strerror or error}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process off the run, inside the ``with``.

        Raises
        ------
        UsageError
            If another process works on it, or it lies in a lake.
        """
        check_outside_lakes(self.path, "--out")
        with ExitStack() as held:
            try:
                held.enter_context(locked(self.path, self.path / "run.lock"))
            except Locked as error:
                raise UsageError(
                    f"{self.path} is being trained by another process; wait for it, or stop it first"
                ) from error
            except OSError as error:
                raise EegzarrError(f"--out {self.path} can't be written: {error.strerror or error}") from error
            yield

    def save(self, content: dict[str, Any], path: Path) -> None:
        """Save a checkpoint whole or not at all, with an outline of what it holds.

        Raises
        ------
        FitStopped
            If the disk is full.
        """
        part = path.with_name(f"{path.name}.partial")
        try:
            with part.open("wb") as file:
                torch.save({**content, OUTLINE: outline(content)}, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except (OSError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
            part.unlink(missing_ok=True)
            raise FitStopped(f"{path} can't be written: {error}. Make room and resume with --resume {self.path}") from (
                error
            )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    part = path.with_name(f"{path.name}.partial")
    part.write_text(json.dumps(content, indent=2) + "\n")
    part.replace(path)


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a table whole or not at all; its columns are those of the first row."""
    part = path.with_name(f"{path.name}.partial")
    with part.open("w", newline="", encoding="utf8") as file:
        if rows:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    part.replace(path)


def environment(device: torch.device) -> dict[str, Any]:
    """Return the machine and the versions that a run has."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
