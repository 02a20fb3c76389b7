"""What eegzarr makes of the rows of the table: equal, refused, wrong or crashed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import mne
import mne_bids
import numpy as np
import pandas as pd
import xarray as xr

import eegzarr
from conformance.case import RATE, Case, Expected, Place, Signal
from conformance.edf_bytes import Edf
from eegzarr.errors import EegzarrError
from eegzarr.recipes.recipe import EventRules, Preparation, Recipe, WindowSpan

_REST = Recipe(
    name="rest", anchor="recording", span=WindowSpan(start=0, stop=1), stride=1.0, sfreq=RATE, target="age", require=()
)
_GO = ("go", "Stimulus/go", "7")
RECIPES = {
    "rest": _REST,
    "events": replace(
        _REST,
        name="events",
        anchor="stimulus",
        stride=None,
        require=("stimulus_onset",),
        events=EventRules(trial_start=_GO, stimulus=_GO, response=("press",), end=(), correct=(), wrong=()),
    ),
    "fast": replace(_REST, name="fast", sfreq=200.0),
    "odd": replace(_REST, name="odd", sfreq=678.17),
    "pick": replace(_REST, name="pick", channels=("Pz", "Fz")),
    "average": replace(_REST, name="average", preparation=Preparation(reference="average")),
    "band": replace(_REST, name="band", preparation=Preparation(l_freq=1.0, h_freq=30.0, reference="average")),
    "resampled": replace(_REST, name="resampled", preparation=Preparation(resample=True)),
}
_GOOD = 3  # recordings beside the rows, so that the usual channels are known


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of a row.

    Attributes
    ----------
    outcome : {"equal", "refused", "wrong", "crashed"}
    text : str
        The reason of a refusal, what is wrong, or what was raised.
    """

    outcome: Literal["equal", "refused", "wrong", "crashed"]
    text: str = ""

    def fits(self, expect: str) -> bool:
        """Tell whether a row expects this."""
        if self.outcome == "equal":
            return expect.startswith("equal")
        reason = expect.removeprefix("equal or ")
        return self.outcome == "refused" and reason != "equal" and bool(re.search(reason, self.text, re.IGNORECASE))


@dataclass(frozen=True)
class Built:
    """A lake's group, in memory."""

    windows: xr.Dataset
    recordings: pd.DataFrame


def judge_all(cases: Sequence[Case], folder: Path, scheduler: str) -> dict[str, Verdict]:
    """Build the rows of each recipe as one dataset and judge each row; by the row's place in `cases`."""
    verdicts = {}
    for group, recipe in RECIPES.items():
        own = {f"c{i:03d}": case for i, case in enumerate(cases) if case.group == group}
        if not own:
            continue
        root = folder / group
        expected = {subject: make(root, subject, case) for subject, case in own.items()}
        built = build(root, folder / f"{group}.zarr", recipe, scheduler)
        for subject in own:
            alone = built
            if isinstance(built, Verdict):  # one row breaks all: which one?
                alone = _alone(folder / f"{group}-{subject}", subject, own[subject], recipe, scheduler)
            verdicts[subject] = (
                alone if isinstance(alone, Verdict) else judged(alone, subject, own[subject], expected[subject])
            )
    return verdicts


def _alone(folder: Path, subject: str, case: Case, recipe: Recipe, scheduler: str) -> Built | Verdict:
    make(folder / "root", subject, case)
    return build(folder / "root", folder / "lake.zarr", recipe, scheduler)


def make(root: Path, subject: str, case: Case) -> list[Expected] | None:
    """Write a row's input, and good recordings beside it."""
    if not root.exists():
        write_good(root, RECIPES[case.group])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = case.make(Place(root, subject))
    with (root / "participants.tsv").open("a") as table:
        table.write(f"sub-{subject}\t{int(subject[1:]) % 80}\n")
    return [expected] if isinstance(expected, Expected) else expected


def write_good(root: Path, recipe: Recipe) -> None:
    """Begin a dataset."""
    root.mkdir(parents=True)
    rate = round(recipe.sfreq)
    edf = Edf()
    good = replace(edf, fields=tuple(replace(field, rate=rate) for field in edf.fields))
    if rate != recipe.sfreq:
        good = replace(good, duration=f"{rate / recipe.sfreq:.6f}")
    for i in range(_GOOD):
        place = Place(root, f"g{i}")
        good.write(place.file("_eeg.edf", task="good"), i)
        place.file("_events.tsv", task="good").write_text("onset\tduration\tvalue\n1\t0\tgo\n2\t0\tgo\n")
    people = "".join(f"sub-g{i}\t{30 + i}\n" for i in range(_GOOD))
    (root / "participants.tsv").write_text("participant_id\tage\n" + people)
    (root / "dataset_description.json").write_text('{"Name": "rows", "BIDSVersion": "1.9.0"}')


def build(root: Path, lake: Path, recipe: Recipe, scheduler: str) -> Built | Verdict:
    """Build a dataset, or tell what it died of."""
    try:
        eegzarr.build_lake(root, lake, recipe=recipe, scheduler=scheduler)
    except EegzarrError as error:
        return Verdict(outcome="crashed", text=f"the whole build: {error}")
    except Exception as error:  # whatever it is, it is what the row is judged by
        return Verdict(outcome="crashed", text=f"{type(error).__name__}: {str(error)[:200]}")
    name = f"{recipe.name}/{root.name}"
    table = xr.open_zarr(lake, group=f"{name}/recordings").load()
    columns = table[["path", "status", "reason", "windows", "dropped"]]
    return Built(xr.open_zarr(lake, group=name).load(), columns.to_dataframe())


def judged(built: Built, subject: str, case: Case, expected: list[Expected] | None) -> Verdict:
    """Hold what was built of a row against what it holds."""
    rows = built.recordings[built.recordings["path"].str.startswith(f"sub-{subject}/")]
    if rows.empty:
        return Verdict(outcome="wrong", text="no row in the recordings table")
    of_row = np.isin(built.windows["recording"].values, rows.index.to_numpy())
    valid = of_row & built.windows["valid"].values
    reasons = "; ".join(sorted({reason for reason in rows["reason"] if reason}))
    if not valid.any():
        return Verdict(outcome="refused" if reasons else "wrong", text=reasons or "no window and no reason")
    if not expected or not case.expect.startswith("equal"):
        return Verdict(outcome="wrong", text=f"{valid.sum()} windows of what should be refused; {reasons}")
    faults, compared = [], 0
    for recording in expected:
        paths = [str(file).partition(f"/{_group_folder(file, subject)}/")[2] for file in recording.files]
        own = rows[rows["path"].isin(paths)]
        windows = built.windows.isel(window=np.isin(built.windows["recording"].values, own.index.to_numpy()))
        fault = difference(windows, recording, RECIPES[case.group], int(own["dropped"].sum()))
        faults += [fault] if fault else []
        compared += windows.sizes["window"]
    if compared != of_row.sum():
        faults.append(f"{of_row.sum()} windows, of which only {compared} belong to what was written")
    return Verdict(outcome="wrong", text="; ".join(faults)) if faults else Verdict(outcome="equal", text=reasons)


def _group_folder(file: Path, subject: str) -> str:
    return next(parent.parent.name for parent in file.parents if parent.name == f"sub-{subject}")


def difference(windows: xr.Dataset, expected: Expected, recipe: Recipe, dropped: int) -> str:
    """Say how windows differ from what a recording holds, "" if they don't."""
    if not windows.sizes["window"]:
        return "no window of this recording"
    if tuple(windows["channel"].values.tolist()) != expected.channels:
        return f"channels {', '.join(windows['channel'].values.tolist())}"
    signal, precision = truth(expected)
    rate, length = recipe.sfreq, recipe.n_times
    starts = windows["start"].values
    if expected.onsets is not None:
        onsets = np.array(sorted(expected.onsets))
        found = windows["stimulus_onset"].values
        if len(found) != len(onsets) or np.abs(np.sort(found) - onsets).max() > 1e-6:
            return f"windows at {found.tolist()}, stimuli at {onsets.tolist()}"
        if np.abs(starts - found).max() > 0.5 / rate + 1e-9:
            return f"windows start at {starts.tolist()} for stimuli at {found.tolist()}"
    else:
        whole = np.arange(0, signal.shape[1] - length + 1, round((recipe.stride or 1) * rate))
        wanted = [first for first in whole if np.isfinite(signal[:, first : first + length]).all()]
        valid = np.round(starts[windows["valid"].values] * rate).astype(int)
        if sorted(valid.tolist()) != wanted:
            return f"windows at samples {valid.tolist()}, expected {[int(first) for first in wanted]}"
    if expected.lost is not None and dropped != expected.lost:
        return f"{dropped} events counted as dropped, {expected.lost} were"
    for window, start, is_valid in zip(windows["eeg"].values, starts, windows["valid"].values, strict=True):
        if is_valid:
            first = round(float(start) * rate)
            due = signal[:, first : first + length]
            off = np.abs(window - due).max() if due.shape == window.shape else np.inf
            if not off <= precision:
                return f"off by {off:.4g} uV at {start:g} s (precision {precision:.2g} uV)"
    return ""


def truth(expected: Expected) -> tuple[Signal, float]:
    """Return a recording's signal in uV as an independent reader has it, and how exactly a window must equal it."""
    if expected.says == "truth":
        assert expected.signal is not None
        return expected.signal, max(expected.step, 2e-6 * _largest(expected.signal))
    read = by_mne(expected.files) if expected.says == "mne" else by_mne_bids(expected.files)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = expected.prepare(read) if expected.prepare else read
        signal = read.get_data(picks=list(expected.channels), reject_by_annotation=None) * 1e6
    for first, stop in expected.absent:
        signal[:, first:stop] = np.nan
    if expected.signal is not None:
        reach = np.isfinite(expected.signal)
        off = np.abs(signal - expected.signal)[reach].max()
        assert off <= max(expected.step, 2e-6 * _largest(signal)), f"MNE reads what wasn't written: off by {off} uV"
    # What is prepared is float32 between its steps.
    return signal, max((2e-5 if expected.prepare else 2e-6) * _largest(signal), 1e-6)


def _largest(signal: Signal) -> float:
    return float(np.nanmax(np.abs(signal))) if signal.size else 0.0


def by_mne(files: tuple[Path, ...]) -> mne.io.BaseRaw:
    """Read a recording as MNE does when it reads all of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mne.io.read_raw(files[0], preload=True, verbose="error")


def by_mne_bids(files: tuple[Path, ...]) -> mne.io.BaseRaw:
    """Read a recording as mne-bids does, with its sidecars."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = mne_bids.get_bids_path_from_fname(files[0])
        return mne_bids.read_raw_bids(path, verbose="error").load_data(verbose="error")
