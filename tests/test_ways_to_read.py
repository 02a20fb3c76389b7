"""However windows are read, each comes once an epoch with its own signal and labels: held against plain xarray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import eegzarr
from eegzarr.stream import MixedStream, WindowDataset, WindowStream

LABELS = ["release", "window", "subject"]
RELEASES = ("R1", "R2")


@pytest.fixture(scope="module")
def plain(two_release_lake: Path) -> dict[str, xr.Dataset]:
    return {name: xr.open_zarr(two_release_lake, group=f"challenge1/{name}", chunks=None).load() for name in RELEASES}


@dataclass(frozen=True)
class Picked:
    """A selection of windows, and what plain xarray has of it."""

    windows: xr.Dataset
    plain: dict[str, dict[str, np.ndarray]]

    @classmethod
    def drawn(cls, data: st.DataObject, lake: Path, plain: dict[str, xr.Dataset]) -> Picked:
        several = data.draw(st.lists(st.sampled_from(RELEASES), min_size=1, max_size=2, unique=True))
        opened = eegzarr.open_windows(lake, "challenge1", several)
        count = opened.sizes["window"]
        window = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, count, data.draw(st.integers(20, 90)))
        channel = data.draw(st.lists(st.integers(0, 128), min_size=1, max_size=4))
        time = data.draw(st.sampled_from([slice(None), slice(20, 60), slice(None, None, -3)]))
        axes = {"channel": channel, "time": time}
        own = {
            name: {label: part.isel(axes)[label].values for label in ("eeg", "target", "subject")}
            for name, part in plain.items()
        }
        return cls(opened.isel(window=window, **axes), own)

    def hold(self, batches: Iterable[tuple[torch.Tensor, torch.Tensor, dict[str, Any]]]) -> None:
        """Hold an epoch's batches against what plain xarray has."""
        came: Counter[tuple[str, int]] = Counter()
        for x, y, labels in batches:
            places = list(zip(labels["release"], labels["window"].tolist(), strict=True))
            for place, (release, number) in enumerate(places):
                own = self.plain[release]
                assert np.array_equal(x[place].numpy(), own["eeg"][number])
                assert y[place].item() == own["target"][number]
                assert labels["subject"][place] == own["subject"][number]
            came.update(places)
        release, number = self.windows["release"].values.tolist(), self.windows["window"].values.tolist()
        known = self.windows["valid"].values & np.isfinite(self.windows["target"].values)
        pairs = zip(zip(release, number, strict=True), known.tolist(), strict=True)
        assert came == Counter(pair for pair, is_known in pairs if is_known)


def consumed(batches: Iterable[Any], how: str) -> list[Any]:
    """Take all batches, and look at none before others have come."""
    if how == "list":
        return list(batches)
    if how == "zip":
        return list(zip(*zip(*batches, strict=True), strict=True))
    used: list[Any] = []
    held: list[Any] = []
    for batch in batches:
        held.append(batch)
        if len(held) == 4:
            used += deepcopy(held)  # used now: what their memory holds later is of no account
            held.clear()
    return used + held


ways = st.sampled_from(["list", "zip", "accumulate"])


# `None` is bare; 3 workers once are enough, since they take a while to start.
@pytest.mark.parametrize(("workers", "examples"), [(None, 8), (0, 3), (1, 2), (3, 1)])
@pytest.mark.parametrize("kind", ["stream", "dataset", "mixture"])
def test_every_window_once_an_epoch_as_plain_xarray_has_it(
    kind: str, workers: int | None, examples: int, two_release_lake: Path, plain: dict[str, xr.Dataset]
) -> None:
    @settings(max_examples=examples, database=None)
    @given(st.data())
    def law(data: st.DataObject) -> None:
        picked = Picked.drawn(data, two_release_lake, plain)
        size, how = data.draw(st.integers(3, 40)), data.draw(ways)
        options = {"with_labels": LABELS, "seed": data.draw(st.integers(0, 9))}
        shuffle = data.draw(st.sampled_from([False, "global", "block"]))
        if kind == "dataset":
            dataset = WindowDataset(picked.windows, with_labels=LABELS)
            order = torch.randperm(len(dataset))
            batches = [dataset[part] for part in order.split(size)]
            if workers is not None:
                batches = DataLoader(dataset, size, shuffle=True, num_workers=workers)  # type: ignore[assignment]
            picked.hold(consumed(batches, how))
            return
        stream = WindowStream(picked.windows, size, shuffle=shuffle, **options)
        if kind == "stream":
            read = stream if workers is None else DataLoader(stream, batch_size=None, num_workers=workers)
            for _ in range(2):
                picked.hold(consumed(read, how))
            return
        other = Picked.drawn(data, two_release_lake, plain)
        mixed = MixedStream({"a": stream, "b": WindowStream(other.windows, 7, shuffle=shuffle, **options)})
        read = mixed if workers is None else DataLoader(mixed, batch_size=None, num_workers=workers)
        for _ in range(2):
            came = consumed(read, how)
            picked.hold([batch for name, batch in came if name == "a"])
            other.hold([batch for name, batch in came if name == "b"])

    law()
