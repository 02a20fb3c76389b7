"""Labels and signals have lives of their own: what is corrected beside a recording leaves its shards alone."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import SMALL_SHARDS, tree_digests

import eegzarr
from eegzarr.build.api import forecast
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.errors import LakeError
from eegzarr.events import Event, ShardFinished
from eegzarr.sample.write import write_sample
from eegzarr.store.checksums import write_checksums
from eegzarr.store.layout import open_store
from eegzarr.store.root import renew_root
from eegzarr.store.verify import verify_lake

GROUP = "challenge1/R1"
OPTIONS: dict[str, Any] = {"recipe": CHALLENGE1, "workers": 1, "shard_size": SMALL_SHARDS}


@pytest.fixture(scope="module")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("small") / "bids", subjects=2)


@pytest.fixture(scope="module")
def small_lake(small_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("small") / "lake.zarr"
    eegzarr.build_lake(small_root, lake, **OPTIONS)
    return lake


@pytest.fixture
def root(small_root: Path, tmp_path: Path) -> Path:
    """The dataset, with the time stamps that it had."""
    return Path(shutil.copytree(small_root, tmp_path / "bids"))


@pytest.fixture
def lake(small_lake: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_lake, tmp_path / "lake.zarr"))


def shards(lake: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in lake.rglob("eeg/c/*/0/0")}


def correct_age(root: Path) -> None:
    path = root / "participants.tsv"
    people = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    people.assign(age="42.5").to_csv(path, sep="\t", index=False)


def correct_responses(root: Path) -> None:
    for path in root.rglob("*contrastChange*_events.tsv"):
        path.write_text(path.read_text().replace("smiley_face", "sad_face"))


@pytest.mark.parametrize(
    ("correct", "recipe", "label", "value"),
    [
        (correct_age, CHALLENGE1, "age", 42.5),
        (correct_responses, CHALLENGE1, "correct", 0),
        (lambda root: None, replace(CHALLENGE1, target="2 * rt_from_stimulus"), "target", None),
    ],
    ids=["participants", "events", "target"],
)
def test_what_only_labels_depend_on_writes_no_shard_again(
    correct: Any, recipe: Any, label: str, value: float | None, root: Path, lake: Path, tmp_path: Path
) -> None:
    before, options = shards(lake), {**OPTIONS, "recipe": recipe}
    correct(root)
    untouched = tree_digests(lake)
    foreseen = forecast(root, lake, **options)
    assert (foreseen.step, foreseen.finished) == ("write labels again", foreseen.shards)
    assert tree_digests(lake) == untouched
    summary = eegzarr.build_lake(root, lake, **options)
    assert summary.relabelled
    assert not summary.already
    assert shards(lake) == before
    found = xr.open_zarr(lake, group=GROUP)
    expected = 2 * found["rt_from_stimulus"].to_numpy() if value is None else np.full(found.sizes["window"], value)
    np.testing.assert_allclose(found[label], expected, rtol=1e-6)
    assert verify_lake(lake) == []
    assert eegzarr.build_lake(root, lake, **options).already
    eegzarr.build_lake(root, tmp_path / "fresh.zarr", **options)
    assert tree_digests(lake) == tree_digests(tmp_path / "fresh.zarr")


class _Stop(Exception):
    pass


@pytest.mark.parametrize("moved", [False, True])
def test_a_correction_in_mid_build_keeps_finished_shards(moved: bool, root: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    written: list[int] = []

    def stop_at_second(event: Event) -> None:
        if isinstance(event, ShardFinished):
            written.append(event.shard)
            if len(written) == 2:
                raise _Stop

    with pytest.raises(_Stop):
        eegzarr.build_lake(root, lake, listeners=[stop_at_second], **OPTIONS)
    kept = {path: stamp for path, stamp in shards(lake).items() if int(Path(path).parts[-3]) in written}
    correct_age(root)
    if moved:
        for recording in root.rglob("*.bdf"):
            os.utime(recording)
    eegzarr.build_lake(root, lake, **OPTIONS)
    assert kept.items() <= shards(lake).items()
    eegzarr.build_lake(root, tmp_path / "fresh.zarr", **OPTIONS)
    assert tree_digests(lake) == tree_digests(tmp_path / "fresh.zarr")


def test_a_dataset_that_was_copied_is_the_same_by_its_content(root: Path, lake: Path) -> None:
    before = shards(lake)
    for recording in root.rglob("*.bdf"):
        os.utime(recording)
    eegzarr.build_lake(root, lake, **OPTIONS)
    assert shards(lake) == before
    assert eegzarr.build_lake(root, lake, **OPTIONS).already  # the time stamps are known now


def test_other_content_of_the_same_size_is_refused_by_name(root: Path, lake: Path) -> None:
    before = tree_digests(lake)
    recording = sorted(root.rglob("*contrastChange*_eeg.bdf"))[0]
    content = recording.read_bytes()
    recording.write_bytes(content[: 256 * 130] + content[256 * 130 :][::-1])
    with pytest.raises(LakeError, match=rf"altered .*{recording.name}"):
        eegzarr.build_lake(root, lake, **OPTIONS)
    assert tree_digests(lake) == before


def test_events_that_give_other_windows_are_refused(root: Path, lake: Path) -> None:
    before = tree_digests(lake)
    path = sorted(root.rglob("*contrastChange*_events.tsv"))[0]
    path.write_text(path.read_text().replace("left_target", "left_distractor"))
    with pytest.raises(LakeError, match="its events have changed"):
        eegzarr.build_lake(root, lake, **OPTIONS)
    assert tree_digests(lake) == before


def test_a_lake_of_an_older_version_gets_its_digests_and_receipts(root: Path, small_lake: Path, lake: Path) -> None:
    before = shards(lake)
    make_old(lake)
    eegzarr.build_lake(root, lake, **OPTIONS)
    assert shards(lake) == before
    differing = {path for path, digest in tree_digests(small_lake).items() if tree_digests(lake)[path] != digest}
    # The copied dataset lies elsewhere, which the attributes say, and so do what sums these up.
    sums = {f"{GROUP}/checksums/{name}/c/0" for name in ("crc32c", "content")}
    assert differing == {"zarr.json", f"{GROUP}/zarr.json", *sums}
    assert verify_lake(lake) == []


def make_old(lake: Path) -> None:
    """Take away what the first version didn't write."""
    metadata = json.loads((lake / GROUP / "zarr.json").read_text())
    for name in ("signals_digest", "labels_digest"):
        del metadata["attributes"][name]
    (lake / GROUP / "zarr.json").write_text(json.dumps(metadata, indent=2))
    for name in ("receipt", "content", "window_nbytes", "window_crc32c"):
        shutil.rmtree(lake / GROUP / "shards" / name)
    for name in ("lower_quartile", "median", "upper_quartile"):
        shutil.rmtree(lake / GROUP / "recordings" / name)
    shutil.rmtree(lake / GROUP / "checksums")
    write_checksums(open_store(str(lake)), GROUP, without="nothing")
    renew_root(str(lake))
    assert verify_lake(lake) == []
