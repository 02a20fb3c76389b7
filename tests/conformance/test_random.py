"""Random recordings in every format: each window is the one that MNE reads."""

from __future__ import annotations

import os
import shutil
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import mne
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import eegzarr
from conformance.case import Place
from conformance.edf_bytes import Edf, Field
from conformance.judge import RECIPES
from conformance.rows_brainvision import write_triplet
from conformance.rows_eeglab import write_set
from conformance.rows_fif import raw_of
from eegzarr.recipes.recipe import Recipe, WindowSpan

EXAMPLES = int(os.environ.get("EEGZARR_RANDOM", "4"))
NAMES = ("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "T7", "T8")
# To shrink an example takes minutes: only where many are asked for.
PHASES = tuple(Phase) if "EEGZARR_RANDOM" in os.environ else (Phase.explicit, Phase.generate)
FORMATS = ("edf", "bdf", "set", "fdt", "vhdr", "fif")


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What Hypothesis chose for a dataset: the rate and the channels of all, and a length for each."""

    rate: int
    names: tuple[str, ...]
    seconds: tuple[int, ...]
    onsets: tuple[float, ...]
    span: tuple[float, float]
    unit: str
    vectorized: bool
    double: bool
    seed: int


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    """Choose a dataset."""
    names = draw(st.permutations(NAMES))
    start = draw(st.integers(-20, 20)) / 20
    return Drawn(
        rate=draw(st.sampled_from([50, 64, 100, 128, 200, 250, 256, 500])),
        names=tuple(names[: draw(st.integers(1, len(NAMES)))]),
        seconds=tuple(draw(st.integers(1, 12)) for _ in FORMATS),
        onsets=tuple(sorted(draw(st.sets(st.integers(-100, 1400), min_size=1, max_size=12)))),
        span=(start, start + draw(st.integers(2, 40)) / 20),
        unit=draw(st.sampled_from(["nV", "uV", "mV"])),
        vectorized=draw(st.booleans()),
        double=draw(st.booleans()),
        seed=draw(st.integers(0, 2**16)),
    )


def written(root: Path, chosen: Drawn) -> dict[str, Path]:
    """Write a recording in each format, with events; return their paths by subject."""
    paths = {}
    for number, (kind, seconds) in enumerate(zip(FORMATS, chosen.seconds, strict=True)):
        place, seed = Place(root, kind), chosen.seed + number
        random = np.random.default_rng(seed)
        signal = random.normal(0, 30, (len(chosen.names), seconds * chosen.rate))
        suffix = {"fdt": "set"}.get(kind, kind)
        path = place.file(f"_eeg.{suffix}")
        if kind in ("edf", "bdf"):
            fields = tuple(Field(label=name, rate=chosen.rate) for name in chosen.names)
            Edf(fields=fields, nbytes=2 if kind == "edf" else 3, seconds=seconds).write(path, seed)
        elif suffix == "set":
            beside = path.with_suffix(".fdt").name if kind == "fdt" else ""
            write_set(path, signal, beside=beside, rate=chosen.rate, names=chosen.names, single=not chosen.double)
        elif kind == "vhdr":
            write_triplet(
                path,
                seed=seed,
                names=chosen.names,
                unit=chosen.unit,
                resolution={"nV": "100", "uV": "0.1", "mV": "0.0001"}[chosen.unit],
                orientation="VECTORIZED" if chosen.vectorized else "MULTIPLEXED",
                interval=f"{1e6 / chosen.rate:.6f}",
            )
        else:
            raw_of(signal, chosen.names, rate=chosen.rate).save(
                path, fmt="double" if chosen.double else "single", verbose="error"
            )
        rows = "".join(f"{onset / 100:g}\t0\tgo\n" for onset in chosen.onsets)
        place.file("_events.tsv").write_text("onset\tduration\tvalue\n" + rows)
        paths[kind] = path
    (root / "participants.tsv").write_text("participant_id\tage\n" + "".join(f"sub-{kind}\t9\n" for kind in FORMATS))
    return paths


def by_mne(path: Path, names: tuple[str, ...]) -> np.ndarray:
    """The whole recording in uV."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = mne.io.read_raw(path, preload=True, verbose="error")
    signal: np.ndarray = raw.get_data(picks=list(names)) * 1e6
    return signal


@settings(
    max_examples=EXAMPLES,
    phases=PHASES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(drawn())
def test_each_window_is_the_one_that_mne_reads(
    tmp_path_factory: pytest.TempPathFactory, scheduler: str, chosen: Drawn
) -> None:
    folder = tmp_path_factory.mktemp("random")
    recipe: Recipe = replace(
        RECIPES["events"],
        sfreq=float(chosen.rate),
        span=WindowSpan(start=chosen.span[0], stop=chosen.span[1]),
        channels=chosen.names,
    )
    paths = written(folder / "root", chosen)
    # Windows as the events say, rounded as MNE rounds onsets.
    anchors = np.round(np.array(chosen.onsets) / 100 * chosen.rate).astype(int)
    starts = anchors + round(chosen.span[0] * chosen.rate)
    due = {}
    for kind, path in paths.items():
        signal = by_mne(path, chosen.names)
        fits = (starts >= 0) & (starts + recipe.n_times <= signal.shape[1])
        due[kind] = [signal[:, first : first + recipe.n_times] for first in starts[fits]]
    if not any(due.values()):
        with pytest.raises(eegzarr.errors.EegzarrError, match="window"):
            eegzarr.build_lake(folder / "root", folder / "lake.zarr", recipe=recipe, scheduler=scheduler)
        return
    eegzarr.build_lake(folder / "root", folder / "lake.zarr", recipe=recipe, scheduler=scheduler)
    windows = xr.open_zarr(folder / "lake.zarr", group="events/root").load()
    table = xr.open_zarr(folder / "lake.zarr", group="events/root/recordings").load()
    assert windows["valid"].values.all()
    assert tuple(windows["channel"].values.tolist()) == chosen.names
    for row, path in enumerate(table["path"].values.tolist()):
        kind = path.split("/")[0].removeprefix("sub-")
        found = windows["eeg"].values[windows["recording"].values == row]
        assert len(found) == len(due[kind]), (path, str(table["reason"].values[row]))
        assert int(table["dropped"].values[row]) == len(chosen.onsets) - len(found)
        if len(found):
            np.testing.assert_allclose(found, np.stack(due[kind]), rtol=2e-6, atol=2e-6 * np.abs(due[kind]).max())
    shutil.rmtree(folder)
