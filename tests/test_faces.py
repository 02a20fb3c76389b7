"""How things show themselves: amounts as text, windows and streams in notebooks, pictures of windows in subjects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.patches import Rectangle

import eegzarr
from eegzarr.amounts import counted, duration, memory, size
from eegzarr.errors import UsageError
from eegzarr.pictures.windows import target_by_subject, timeline, traces, windows_by_subject


@pytest.fixture(scope="module")
def windows(sample_lake: Path) -> xr.Dataset:
    return eegzarr.open_windows(sample_lake, "challenge1")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (counted(1, "window"), "1 window"),
        (counted(1513, "window"), "1,513 windows"),
        (counted(0, "shard"), "0 shards"),
        (size(999), "999 B"),
        (size(22_100_000), "22.1 MB"),
        (size(2.5e12), "2.50 TB"),
        (memory(437 * 2**20), "437 MiB"),
        (duration(4.72), "4.7 s"),
        (duration(59.97), "1 min 00 s"),
        (duration(725), "12 min 05 s"),
        (duration(12_000), "3 h 20 min"),
    ],
)
def test_an_amount_is_worded_in_one_way(told: str, expected: str) -> None:
    assert told == expected


def test_the_target_says_what_it_predicts_and_in_which_unit(windows: xr.Dataset) -> None:
    assert windows["target"].attrs["units"] == "s"
    assert windows["target"].attrs["long_name"] == "rt_from_stimulus: reaction time from the stimulus"


def test_a_datasets_own_columns_come_last(windows: xr.Dataset) -> None:
    names = list(windows.coords)
    assert names.index("subject") < names.index("channel") < names.index("full_pheno")


def test_windows_show_themselves_in_a_notebook(windows: xr.Dataset) -> None:
    n_subjects = len(set(windows["subject"].values.tolist()))
    shown = windows.eegzarr._repr_html_()
    for told in (f">{windows.sizes['window']:,}<", f">{n_subjects}<", "reaction time from the stimulus (s)"):
        assert told in shown
    assert str(windows.sizes["window"]) in repr(windows.eegzarr)


def test_bars_count_the_windows_of_each_subject(windows: xr.Dataset) -> None:
    ax = windows_by_subject(windows)
    names, counts = np.unique(windows["subject"].values.astype(str), return_counts=True)
    drawn = dict(zip((t.get_text() for t in ax.get_yticklabels()), (b.get_width() for b in ax.patches), strict=True))
    assert drawn == dict(zip(names, counts, strict=True))


def test_the_target_of_each_subject_has_its_median(windows: xr.Dataset) -> None:
    ax = target_by_subject(windows)
    medians = windows["target"].to_series().groupby(windows["subject"].values).median()
    points = sorted(float(line.get_xdata()[0]) for line in ax.lines if len(line.get_xdata()) == 1)
    np.testing.assert_allclose(points, sorted(medians), rtol=1e-6)
    shares = target_by_subject(windows, "response_type")
    assert sum(bar.get_width() for bar in shares.patches) == pytest.approx(len(medians))
    with pytest.raises(UsageError, match="no label 'agee'"):
        target_by_subject(windows, "agee")


def test_a_time_line_has_each_window_of_the_recording_where_it_lies(windows: xr.Dataset) -> None:
    ax = timeline({"challenge1": windows}, seconds=60)
    first = windows.isel(window=0)
    same = (windows["subject"] == first["subject"]) & (windows["run"] == first["run"])
    starts = windows["start"].values[same.values]
    begins = max(0.0, starts[0] - 2)
    drawn = sorted(bar.get_x() for bar in ax.patches if isinstance(bar, Rectangle))
    np.testing.assert_allclose(drawn, sorted(starts[starts < begins + 60]))
    with pytest.raises(UsageError, match="no window to draw"):
        timeline(windows.isel(window=[]))


def test_traces_are_the_windows_signals(windows: xr.Dataset) -> None:
    ax = traces(windows, 3, ["E11", "E62"])
    assert len(ax.lines) == 3 * 2
    first = windows["eeg"].isel(window=0).sel(channel="E11").values
    np.testing.assert_allclose(ax.lines[0].get_ydata(), first - first.mean(), atol=1e-4)
    with pytest.raises(UsageError, match="no channel"):
        traces(windows, 3, ["E999"])
