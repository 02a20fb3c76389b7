"""What a build or a training run looks like now, from the files that it writes: values, no drawing."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from eegzarr.amounts import counted
from eegzarr.errors import LakeError, UsageError, redacted
from eegzarr.machine.memory import machine_used_share, private_memory
from eegzarr.store.group import finished_shards, finished_windows, read_attributes
from eegzarr.store.layout import COMPLETE, SHARDS, open_array, open_group, open_store
from eegzarr.store.open import recipes
from eegzarr.watch.follow import follow
from eegzarr.watch.run import STATUS

FINISHED = "finished"  # the phase of a run
_DAY = 86_400.0  # s
_SILENT = 30.0  # s without news after which a process that is gone counts as dead


@dataclass(frozen=True, kw_only=True)
class Bar:
    """How far one thing is.

    Attributes
    ----------
    name, unit : str
    done, total : int
        In that unit.
    also : str
        The same in a unit that readers care more about: "1,280 of 7,315 windows".
    """

    name: str
    done: int
    total: int
    unit: str
    also: str = ""


@dataclass(frozen=True, kw_only=True)
class View:
    """What the monitor shows.

    Attributes
    ----------
    phase : str
        Such as training, stopped, complete.
    rate : float or None
        Windows/s.
    left : float or None
        Seconds.
    waiting : float or None
        Share of the time that training waits for data.
    losses : tuple of float
        The last ones.
    tree, machine : float
        Bytes of the process tree, None where it isn't known, and share in use of the memory of the machine, or of a
        cgroup that is fuller.
    gpus : tuple of str
        A line each.
    facts : dict of str to str
        Further lines.
    """

    title: str
    phase: str
    bars: tuple[Bar, ...]
    rate: float | None = None
    left: float | None = None
    waiting: float | None = None
    losses: tuple[float, ...] = ()
    tree: int | None = None
    machine: float = 0.0
    gpus: tuple[str, ...] = ()
    facts: dict[str, str]

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.phase in (FINISHED, "complete")


def look(path: str) -> View:
    """Return the present state of a training run, a cross-validation, a search, or a lake.

    Raises
    ------
    UsageError
        If it is none of these.
    """
    folder = Path(path)
    if "://" not in path:
        folder = folder.expanduser()
        runs = sorted(folder.glob(f"*/{STATUS}"), key=lambda file: file.stat().st_mtime)
        if (folder / STATUS).exists():
            return _look_at_run(folder)
        if runs and not (folder / "zarr.json").exists():
            return _look_at_run(runs[-1].parent)
        if not folder.exists():
            raise UsageError(f"{path} isn't there yet: --wait SECONDS waits for it")
    try:
        groups = recipes(path)
    except LakeError as error:
        raise UsageError(f"{path} is neither a training run nor a lake") from error
    return _look_at_lake(path, [f"{recipe}/{release}" for recipe, names in groups.items() for release in names])


def _look_at_run(folder: Path) -> View:
    try:
        state: dict[str, Any] = json.loads((folder / STATUS).read_text())
    except ValueError as error:
        raise UsageError(f"{folder / STATUS} is damaged: {error}") from error
    tree = _memory_of(state["pid"])
    phase = state["phase"]
    if tree is None and phase not in (FINISHED, "stopped"):
        phase = "dead: resume with --resume" if time.time() - state["updated"] > _SILENT else phase
    epochs, batches = state["epochs"], max(1, state["batches"])
    done = min(epochs, state["epoch"] + state["batch"] / batches)
    since = done - state["epoch_at_start"]
    elapsed = state["updated"] - state["began"]
    seconds, waited = state.get("seconds", 0.0), state.get("waited", 0.0)
    facts = {"model": f"{state['model']} for {state['recipe']} on {state['device']}"}
    if "best_score" in state:
        facts[f"validation {state['metric']}"] = f"{state['valid_score']:.3f}, best {state['best_score']:.3f}"
    if state.get("reason") and phase == "stopped":
        facts["why"] = state["reason"]
    is_running = phase in ("training", "validating", "scoring")
    return View(
        title=str(folder),
        phase=phase,
        bars=(
            Bar(name="epochs", done=min(epochs, state["epoch"]), total=epochs, unit="epochs"),
            Bar(name=f"epoch {state['epoch']}", done=state["batch"], total=batches, unit="batches"),
        ),
        rate=state["windows"] / seconds if seconds and "windows" in state else None,
        left=elapsed / since * (epochs - done) if is_running and since > 0 else None,
        waiting=waited / seconds if seconds else None,
        losses=tuple(state["losses"]),
        tree=tree if tree is not None else state.get("tree"),
        machine=machine_used_share(),
        gpus=_gpus(),
        facts=facts,
    )


def _look_at_lake(lake: str, groups: Iterable[str]) -> View:
    bars, is_complete = [], True
    for group in groups:
        attributes = read_attributes(lake, group) or {}
        bars.append(_group_bar(lake, group, attributes))
        is_complete = is_complete and attributes.get("status") == COMPLETE
    log = newest_log(lake)
    facts: dict[str, str] = {}
    rate = left = tree = None
    if log is not None:
        facts["log"] = str(log)
        rate, left, tree = follow(log).figures()
    phase = "complete" if is_complete and bars else "building"
    return View(
        title=redacted(lake),
        phase=phase,
        bars=tuple(bars),
        rate=rate,
        left=None if phase == "complete" else left,
        tree=tree,
        machine=machine_used_share(),
        facts=facts,
    )


def _group_bar(lake: str, group: str, attributes: dict[str, Any]) -> Bar:
    if attributes.get("status") == COMPLETE:
        table = open_group(open_store(lake, read_only=True), f"{group}/{SHARDS}")
        done = total = next((array.shape[0] for _, array in table.arrays()), 0)
        windows = total_windows = open_array(lake, f"{group}/recording").shape[0]
    else:
        done, total = finished_shards(lake, group)
        windows, total_windows = finished_windows(lake, group)
    also = f"{windows:,} of {counted(total_windows, 'window')}" if total_windows else ""
    return Bar(name=group, done=done, total=total, unit="shards", also=also)


def newest_log(lake: str) -> Path | None:
    """Return the log of a lake's build that was written last, None where there is none."""
    if "://" in lake:
        return None
    written = {file: file.stat().st_mtime for file in Path(f"{lake.rstrip('/')}.logs").expanduser().glob("*.log")}
    # One from a day to come was written when the clock was wrong, and would stay the newest for as long.
    past = {file: when for file, when in written.items() if when < time.time() + _DAY}
    return max(past or written, key=written.__getitem__, default=None)


def _memory_of(pid: int) -> int | None:
    try:
        return private_memory(psutil.Process(pid)) or None
    except psutil.Error:
        return None


def _gpus() -> tuple[str, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=name,utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    lines = []
    for line in told.stdout.splitlines() if told.returncode == 0 else ():
        name, busy, used, total = (part.strip() for part in line.split(",", 3))
        lines.append(f"{name}: {busy} % busy, {used} of {total} MiB")
    return tuple(lines)
