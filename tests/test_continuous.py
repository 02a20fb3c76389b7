"""Lakes of whole recordings: tiles that hold all of each, their events, and what any recipe's windows follow from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import SMALL_SHARDS, run_command, tree_digests
from test_stretches import NAMES, RATE, interrupted, noise

import eegzarr
from eegzarr.bids.dataset import find_source
from eegzarr.build.inspect import inspect, inspected
from eegzarr.build.observe import observe
from eegzarr.build.repair import repair_lake
from eegzarr.build.whole.kept import Kept, restored_source, source_text
from eegzarr.challenge.presets import CHALLENGE1, CHALLENGE2
from eegzarr.errors import RecipeError
from eegzarr.events import ShardFinished
from eegzarr.recipes.recipe import Recipe, WindowSpan
from eegzarr.store.describe import describe_lake
from eegzarr.store.verify import verify_lake

GROUP = "continuous/R1"


@pytest.fixture(scope="module")
def lake(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with the sample's recordings, whole."""
    lake = tmp_path_factory.mktemp("whole") / "lake.zarr"
    eegzarr.build_lake(sample_root, lake, recipe="continuous", workers=1, shard_size=SMALL_SHARDS)
    return lake


def joined(tiles: xr.Dataset) -> np.ndarray:
    """All samples of one recording's tiles, (channel, time)."""
    return np.concatenate(list(tiles.eeg.transpose("window", "channel", "time").to_numpy()), axis=1)


def test_tiles_in_a_row_are_the_recordings(lake: Path, sample_root: Path) -> None:
    tiles = eegzarr.open_windows(lake, "continuous")
    assert (tiles.attrs["format_version"], tiles.sizes["time"], "target" in tiles.coords) == ("2", 200, False)
    paths = xr.open_zarr(lake, group=f"{GROUP}/recordings")["path"].to_numpy()
    assert len(paths) == len(list(sample_root.rglob("*_eeg.bdf")))
    for row in (0, 5, len(paths) - 1):
        own = tiles.isel(window=np.flatnonzero(tiles.recording.to_numpy() == row))
        raw = mne.io.read_raw_bdf(sample_root / str(paths[row]), preload=True, verbose="error")
        samples = joined(own)
        np.testing.assert_allclose(samples[:, : raw.n_times], raw.get_data() * 1e6, rtol=1e-6, atol=1e-4)
        assert np.isnan(samples[:, raw.n_times :]).all()
        lengths = np.diff([*range(0, raw.n_times, 200), raw.n_times])
        np.testing.assert_array_equal(own.tile_samples, lengths)
        np.testing.assert_array_equal(own.valid, lengths == 200)
        np.testing.assert_array_equal(own.start, np.arange(len(lengths)) * 2.0)
    (summary,) = describe_lake(lake)
    assert summary.invalid == 0  # what isn't full could be read all the same


def test_all_events_stand_in_a_table_with_their_types(lake: Path, sample_root: Path) -> None:
    events = xr.open_zarr(lake, group=f"{GROUP}/events").load()
    paths = xr.open_zarr(lake, group=f"{GROUP}/recordings")["path"].to_numpy()
    assert (events.onset.dtype, events.onset.attrs["units"]) == (np.float64, "s")
    assert events.value.dtype.kind in "TO"  # O: of xarray 2025.6
    for row, path in enumerate(map(str, paths)):
        written = pd.read_csv(sample_root / path.replace("_eeg.bdf", "_events.tsv"), sep="\t", keep_default_na=False)
        own = events.isel(event=events.recording.to_numpy() == row)
        np.testing.assert_array_equal(own.onset, written["onset"].astype(float))
        assert own.value.to_numpy().tolist() == written["value"].tolist()


def test_a_damaged_events_table_is_found_and_made_again(lake: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(lake, tmp_path / "lake.zarr")
    before = tree_digests(copy)
    for name in ("events/onset/c/0", "recordings/observed/c/0", "recordings/dataset/c"):
        file = copy / GROUP / name
        file.write_bytes(file.read_bytes()[:-1] + b"!")
    faults = verify_lake(copy)
    assert len(faults) == 3
    repair_lake(copy, faults, workers=1)
    assert (verify_lake(copy), tree_digests(copy)) == ([], before)


def bids(root: Path, write: Callable[[Path], object], suffix: str = ".edf", events: str = "") -> Path:
    """A dataset of one recording."""
    path = root / "sub-01" / "eeg" / f"sub-01_task-rest_eeg{suffix}"
    path.parent.mkdir(parents=True)
    write(path)
    if events:
        path.with_name("sub-01_task-rest_events.tsv").write_text(events)
    return root


def test_gaps_are_nan_and_the_rate_is_the_recordings_own(tmp_path: Path) -> None:
    onsets = [0.0, 1.0, 2.0, 6.5, 7.5]
    signals = []
    root = bids(tmp_path / "bids", lambda path: signals.append(interrupted(path, onsets, [(7.0, "T1")])))
    recipe = Recipe(
        name="tiles", anchor="recording", span=WindowSpan(start=0, stop=0.8), target="", sfreq=0, whole=True
    )
    eegzarr.build_lake(root, tmp_path / "lake.zarr", recipe=recipe, workers=1)
    tiles = eegzarr.open_windows(tmp_path / "lake.zarr", "tiles")
    recorded = np.full((len(NAMES), 880), np.nan)
    for number, onset in enumerate(onsets):
        start = round(onset * RATE)
        recorded[:, start : start + RATE] = signals[0][:, number * RATE : (number + 1) * RATE]
    assert tiles.attrs["sampling_rate"] == RATE
    np.testing.assert_allclose(joined(tiles), recorded, rtol=1e-6, atol=1e-5)
    assert tiles.tile_samples.to_numpy().tolist() == [80, 80, 80, 60, 0, 0, 0, 0, 70, 80, 50]
    events = xr.open_zarr(tmp_path / "lake.zarr", group="tiles/bids/events")
    assert (events.onset.to_numpy().tolist(), events.value.to_numpy().tolist()) == ([7.0], ["T1"])


def test_a_rate_that_a_file_rounds_is_the_rate_to_cut_at(tmp_path: Path) -> None:
    rate = 499.707  # in a FIF file 499.7070007
    info = mne.create_info(list(NAMES), rate, "eeg")
    root = bids(
        tmp_path / "bids", lambda path: mne.io.RawArray(noise(30) * 1e-6, info, verbose=False).save(path), ".fif"
    )
    recipe = Recipe(name="r", anchor="recording", span=WindowSpan(start=0, stop=1), stride=0.5, sfreq=rate, target="")
    for lake, made in (("whole.zarr", "continuous"), ("direct.zarr", recipe)):
        eegzarr.build_lake(root, tmp_path / lake, recipe=made, workers=1)
    wanted = eegzarr.open_windows(tmp_path / "direct.zarr", "r").load()
    found = eegzarr.cut(tmp_path / "whole.zarr", recipe).load()
    assert wanted.sizes["window"] > 8
    for name in wanted.variables:
        np.testing.assert_array_equal(wanted[name], found[name], err_msg=str(name))


def write_fif(path: Path) -> None:
    """A recording with a join, a bad time and a bad channel."""
    info = mne.create_info(list(NAMES), RATE, "eeg")
    raw = mne.io.RawArray(noise(30) * 1e-6, info, verbose="error")
    raw.append(mne.io.RawArray(noise(20, 1) * 1e-6, info, verbose="error"))
    raw.annotations.append([3.0, 12.25, 35.0], [1.0, 0.0, 0.0], ["BAD_muscle", "T1", "T2"])
    raw.info["bads"] = ["Pz"]
    raw.save(path, verbose="error")


def test_what_is_kept_of_a_recording_decides_windows_as_the_recording_does(sample_root: Path, tmp_path: Path) -> None:
    trials = Recipe(
        name="trials",
        anchor="trial_start",
        span=WindowSpan(start=-0.5, stop=1.5),
        target="rt_from_trialstart",
        events=type(CHALLENGE1.events)(trial_start=("T1", "T2", "value"), end=()),
        require=(),
    )
    tiles = Recipe(
        name="steps", anchor="recording", span=WindowSpan(start=0, stop=2), stride=1, target="start", require=()
    )
    roots = [
        bids(tmp_path / "fif", write_fif, ".fif"),
        bids(tmp_path / "edf", lambda path: interrupted(path, [0.0, 1.0, 2.0, 5.0, 6.0, 7.0], [(5.5, "T1")])),
        bids(
            tmp_path / "odd", write_fif, ".fif", events="onset\tvalue\n1.50\tT1\nn/a\tT1\n7.5\tT2\textra cell\n9\tT2\n"
        ),
        bids(tmp_path / "bad", write_fif, ".fif", events="onset,value\n1,T1\n2,T2\n"),
        sample_root,
    ]
    found = 0
    for root in roots:
        source = find_source(root)
        for recording in source.recordings:
            restored = Kept.of(observe(str(root), recording, annotations=True)).restored()
            for recipe in (trials, tiles, CHALLENGE1, CHALLENGE2):
                direct, again = inspect(str(root), recording, recipe), inspected(restored, recipe)
                assert direct.windows.keys() == again.windows.keys()
                for name, values in direct.windows.items():
                    np.testing.assert_array_equal(values, again.windows[name])
                for name in ("n_windows", "trials", "dropped", "left_out", "facts", "notes", "reason", "fingerprint"):
                    assert getattr(direct, name) == getattr(again, name), (recording.path, recipe.name, name)
                found += direct.n_windows
        back = restored_source(source_text(source), source.recordings)
        assert (back.root, back.name, back.why_missing, back.description, back.notes) == (
            source.root, source.name, source.why_missing, source.description, source.notes,
        )  # fmt: skip
        assert back.participants.to_csv() == source.participants.to_csv()
        assert back.sessions.to_csv() == source.sessions.to_csv()
    assert found > 1000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"anchor": "stimulus"}, "need the anchor 'recording'"),
        ({"stride": 1.0}, "leave out stride"),
        ({"span": WindowSpan(start=1.0, stop=2.0)}, "span.start = 0"),
        ({"sfreq": 0.0, "whole": False, "target": "age"}, "sfreq must be positive"),
    ],
)
def test_tiles_that_would_not_hold_whole_recordings_are_refused(fields: dict[str, object], message: str) -> None:
    usual = {"name": "t", "anchor": "recording", "span": WindowSpan(start=0, stop=2), "target": "", "whole": True}
    with pytest.raises(RecipeError, match=message):
        Recipe(**{**usual, **fields})  # type: ignore[arg-type]


def test_a_stopped_build_of_whole_recordings_goes_on_within_its_memory(
    sample_root: Path, lake: Path, tmp_path: Path
) -> None:
    def stop(event: object) -> None:
        if isinstance(event, ShardFinished):
            raise KeyboardInterrupt

    out = tmp_path / "lake.zarr"
    with pytest.raises(KeyboardInterrupt):
        eegzarr.build_lake(sample_root, out, recipe="continuous", workers=1, shard_size=SMALL_SHARDS, listeners=[stop])
    assert list(out.rglob("eeg/c/*/0/0"))
    limits = ("--workers", 1, "--shard-size", SMALL_SHARDS, "--memory-limit", "600MiB")
    again = run_command("eegzarr.build", "--source", sample_root, "--out", out, "--recipe", "continuous", *limits)
    assert again.returncode == 0, again.stderr
    assert float(again.stdout.split("peak memory ")[1].split(" MiB")[0]) < 600
    assert tree_digests(out) == tree_digests(lake)
