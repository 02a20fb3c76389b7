"""``--step auto``: the step in which recordings were recorded, so that integers lose nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import edfio
import mne
import numpy as np
import numpy.typing as npt
import pybv
import pytest
import xarray as xr

import eegzarr
from eegzarr.build.content import Recorded, shared_step
from eegzarr.events import Event, Noticed, ShardFinished
from eegzarr.recipes.recipe import Preparation, Recipe, WindowSpan
from eegzarr.recordings.digital import common_step, recorded_step
from eegzarr.recordings.reader import read_header
from eegzarr.store.verify import verify_lake
from eegzarr.stream import WindowStream

NAMES = ("Fz", "Cz", "Pz")
REST = Recipe(
    name="rest", anchor="recording", span=WindowSpan(start=0, stop=1), stride=1.0, sfreq=100, target="age", require=()
)


def digits(largest: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Integers of some size, (channel, time), with the largest in both directions."""
    drawn = np.random.default_rng(seed).integers(-largest, largest + 1, (len(NAMES), 1000))
    drawn[0, :2] = largest, -largest
    return drawn


def write_edf(path: Path, counts: npt.NDArray[np.int64], step: float, *, lowest: int = -32767) -> None:
    """Write integers of a step in uV as EDF whose digital range begins with `lowest`, or as BDF."""
    if path.suffix == ".bdf":
        kind, file, low, high = edfio.BdfSignal, edfio.Bdf, -(2**23) + 32, 2**23 - 32
    else:
        kind, file, low, high = edfio.EdfSignal, edfio.Edf, lowest, 32767
    zero = 0.5 if lowest == -32768 and path.suffix == ".edf" else 0.0
    limits = (round((low + zero) * step, 3), round((high + zero) * step, 3))
    file(
        [
            kind(np.clip((row + zero) * step, *limits), 100, label=name, physical_dimension="uV", physical_range=limits,
                 digital_range=(low, high))
            for name, row in zip(NAMES, counts, strict=True)
        ]
    ).write(path)  # fmt: skip


def dataset(root: Path, writers: dict[str, tuple[npt.NDArray[np.int64], float]]) -> Path:
    """A BIDS dataset of a recording a subject: integers and the step in uV, by file name suffix with the subject."""
    rows = ["participant_id\tage"]
    for number, (suffix, (counts, step)) in enumerate(writers.items()):
        folder = root / f"sub-{number}" / "eeg"
        folder.mkdir(parents=True)
        write_edf(folder / f"sub-{number}_task-rest_eeg{suffix.lstrip('0123456789')}", counts, step)
        rows.append(f"sub-{number}\t{number + 8}")
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    return root


def by_mne(root: Path) -> npt.NDArray[np.float32]:
    """All recordings in uV as windows of 1 s, (window, channel, time)."""
    read = [mne.io.read_raw(path, preload=True, verbose="error") for path in sorted(root.rglob("*_eeg.?df"))]
    return np.concatenate([(raw.get_data() * 1e6).reshape(3, -1, 100).swapaxes(0, 1) for raw in read])


@pytest.mark.parametrize(
    ("steps", "common"),
    [
        ([0.1, 0.1], 0.1),
        ([0.1, 0.2, 0.5], 0.1),
        ([0.1, 0.1 + 1e-9], 0.1),
        ([0.1, 0.15], None),
        ([0.1, np.nan], None),
        ([0.1, 0.0], None),
        ([], None),
    ],
)
def test_a_common_step_divides_all(steps: list[float], common: float | None) -> None:
    assert common_step(np.array(steps)) == common


@pytest.mark.parametrize(
    ("name", "step", "lowest", "told"),
    [
        ("a.edf", 0.1, -32767, 0.1),
        ("a.edf", 0.1, -32768, 0.05),  # the usual range has its zero between two integers
        ("a.bdf", 0.03125, 0, 0.03125),
    ],
)
def test_headers_tell_the_step_of_edf_and_bdf(name: str, step: float, lowest: int, told: float, tmp_path: Path) -> None:
    write_edf(tmp_path / name, digits(500), step, lowest=lowest)
    found = recorded_step(tmp_path / name, NAMES, read_header(tmp_path / name))
    assert found == pytest.approx(told, rel=1e-6)


@pytest.mark.parametrize(("kind", "told"), [("binary_int16", 0.1), ("binary_float32", None)])
def test_headers_tell_the_step_of_brainvision_files_of_integers(kind: str, told: float | None, tmp_path: Path) -> None:
    pybv.write_brainvision(
        data=digits(500) * 0.1e-6, sfreq=100, ch_names=list(NAMES), fname_base="a", folder_out=tmp_path,
        resolution=0.1, unit="µV", fmt=kind,
    )  # fmt: skip
    path = tmp_path / "a.vhdr"
    assert recorded_step(path, ("Pz", "Fz"), read_header(path)) == told


def test_what_fits_is_shared_and_what_does_not_is_told() -> None:
    fine = Recorded((0.1, 0.1), 3276.7, 0.001)
    assert shared_step([fine, Recorded((0.2,), 100.0, 0.0)]) == (pytest.approx(0.1), "")
    for other, why in (
        (Recorded((0.1,), 3276.9, 0.0), "samples of 3277 uV don't fit into steps of 0.1 uV"),
        (Recorded((np.nan,), 0.0, 0.0), "the recordings share no step"),
        (Recorded((0.1,), 10.0, 0.4), "aren't multiples of 0.1 uV"),
    ):
        step, told = shared_step([fine, other])
        assert step is None
        assert why in told


def test_integers_in_the_recorded_step_are_every_sample(tmp_path: Path) -> None:
    root = dataset(tmp_path / "bids", {"0.edf": (digits(32767), 0.1), "1.edf": (digits(16383, 1), 0.2)})
    lake, told = tmp_path / "lake.zarr", []

    def listen(event: Event) -> None:
        told.extend([event.message] if isinstance(event, Noticed) else [])
        if isinstance(event, ShardFinished):
            raise KeyboardInterrupt

    options = {"recipe": REST, "dtype": "int16", "step": "auto", "workers": 1, "shard_size": 2**12}
    with pytest.raises(KeyboardInterrupt):
        eegzarr.build_lake(root, lake, **options, listeners=[listen])
    assert told == ["--step auto is 0.1 uV: 2 recordings share it"]
    eegzarr.build_lake(root, lake, **options)  # resumes in that step
    windows = eegzarr.open_windows(lake, "rest")
    assert windows.attrs["lossless"] is True
    expected = by_mne(root)
    np.testing.assert_array_equal(windows["eeg"].values, expected.astype(np.float32))
    plain = xr.open_zarr(lake, group=f"rest/{windows.attrs['release']}")
    np.testing.assert_allclose(plain["eeg"].values, expected, rtol=1e-12)
    assert bool(windows["valid"].all())
    assert verify_lake(lake) == []
    assert eegzarr.build_lake(root, lake, **options).already


def test_what_does_not_fit_or_is_prepared_gets_the_usual_step(tmp_path: Path) -> None:
    counts = digits(400_000) // 10
    root = dataset(tmp_path / "bids", {"0.bdf": (counts, 0.03125)})
    filtered = replace(REST, name="filtered", preparation=Preparation(l_freq=1.0))
    for recipe, why in ((REST, "samples of 1250 uV don't fit"), (filtered, "signals are prepared")):
        told: list[str] = []
        eegzarr.build_lake(
            root, tmp_path / "lake.zarr", recipe=recipe, dtype="int16", step="auto", workers=1,
            listeners=[lambda event, told=told: told.append(getattr(event, "message", ""))],
        )  # fmt: skip
        assert any(message.startswith(f"--step auto is 0.05 uV: {why}") for message in told)
        windows = eegzarr.open_windows(tmp_path / "lake.zarr", recipe.name)
        assert WindowStream(windows, 4, dtype="int16").scale == 0.05
        assert windows.attrs["lossless"] is False
        assert windows.attrs["largest_error_uV"] <= 0.025
