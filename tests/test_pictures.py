"""Pictures: what they add up is right, read once in blocks, and drawn on the axes returned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import xarray as xr
from matplotlib.axes import Axes

import eegzarr
from eegzarr.errors import UsageError
from eegzarr.pictures import labels, signals
from eegzarr.pictures.canvas import as_svg
from eegzarr.pictures.passes import SortedImage, Spectrum, SubjectAverages, blocks, read


@pytest.fixture(scope="module")
def windows(sample_lake: Path) -> xr.Dataset:
    return eegzarr.open_windows(sample_lake, "challenge1")


def test_blocks_give_every_valid_window_once_and_stay_small(windows: xr.Dataset) -> None:
    valid = np.ones(windows.sizes["window"], bool)
    valid[[1, 50, 51]] = False
    part = windows.assign_coords(valid=("window", valid)).isel(window=slice(0, None, 2))
    limit = 3 * 2**20
    rows, signal = zip(*blocks(part, limit), strict=True)
    assert len(rows) > 3
    assert max(block.nbytes for block in signal) <= limit
    assert np.concatenate(rows).tolist() == np.flatnonzero(part["valid"].values).tolist()
    np.testing.assert_array_equal(np.concatenate(signal), part["eeg"].values[part["valid"].values])


def test_the_confidence_band_is_students_over_subjects(windows: xr.Dataset) -> None:
    averages = SubjectAverages(windows, "E62", "response_type")
    read(windows, averages)
    mean, half, n_subjects, n_windows = averages.curve(0)
    mine = windows.isel(window=windows["response_type"].values == averages.conditions.names[0])
    by_subject = mine["eeg"].sel(channel="E62").compute().groupby("subject").mean().values.astype(float)
    assert (n_subjects, n_windows) == (len(by_subject), mine.sizes["window"])
    np.testing.assert_allclose(mean, by_subject.mean(axis=0), atol=1e-4)
    error = scipy.stats.sem(by_subject, axis=0)
    np.testing.assert_allclose(half, error * scipy.stats.t.ppf(0.975, len(by_subject) - 1), rtol=1e-3)


def test_the_spectrum_is_welchs(windows: xr.Dataset) -> None:
    part = windows.isel(window=slice(0, 90))
    spectrum = Spectrum(part)
    read(part, spectrum)
    frequencies, density = scipy.signal.welch(part["eeg"].values.astype(float), 100, nperseg=200)
    np.testing.assert_allclose(spectrum.frequencies, frequencies)
    np.testing.assert_allclose(spectrum.density, density.mean(axis=0), rtol=1e-3, atol=1e-6)


def test_an_image_has_its_trials_in_order(windows: xr.Dataset) -> None:
    part = windows.isel(window=slice(0, 40))
    image = SortedImage(part, "E62", "rt_from_stimulus", height=1000)
    read(part, image)
    order = np.argsort(part["rt_from_stimulus"].values, kind="stable")
    np.testing.assert_allclose(image.image, part["eeg"].sel(channel="E62").values[order], atol=1e-5)
    np.testing.assert_allclose(image.sorted_values, part["rt_from_stimulus"].values[order])
    coarse = SortedImage(part, "E62", "rt_from_stimulus", height=4)
    read(part, coarse)
    np.testing.assert_allclose(coarse.image[0], image.image[:10].mean(axis=0), atol=1e-5)


PICTURES = {
    "erp": lambda ds: ds.eegzarr.plot_erp("response_type"),
    "erp_image": lambda ds: ds.eegzarr.plot_erp_image(),
    "topomap": lambda ds: ds.eegzarr.plot_topomap(1.0),
    "psd": lambda ds: ds.eegzarr.plot_psd(),
    "amplitudes": lambda ds: ds.eegzarr.plot_amplitudes(120.0),
    "subjects": lambda ds: ds.eegzarr.plot_subjects(),
    "losses": lambda ds: ds.eegzarr.plot_losses(),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_returns_its_axes_with_something_on_them(name: str, windows: xr.Dataset) -> None:
    ax = PICTURES[name](windows)
    assert isinstance(ax, Axes)
    assert ax.get_title(loc="left")
    assert ax.lines or ax.patches or ax.images or ax.texts
    svg = as_svg(ax)
    assert svg.startswith(b"<?xml")
    assert svg == as_svg(PICTURES[name](windows))  # the same windows, the same bytes


def test_a_picture_is_drawn_where_it_is_told_to(windows: xr.Dataset) -> None:
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert signals.amplitudes(windows, ax=ax) is ax
    assert labels.subjects(windows, ax) is ax
    assert len(ax.patches) > 1


def test_label_distributions_count_every_window(windows: xr.Dataset) -> None:
    rt, kind = labels.label_distributions(windows, ["rt_from_stimulus", "response_type"])
    assert sum(bar.get_height() for bar in rt.patches) == windows.sizes["window"]
    assert sum(bar.get_width() for bar in kind.patches) == windows.sizes["window"]


def test_drawing_leaves_the_readers_matplotlib_alone(windows: xr.Dataset) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    labels.subjects(windows)
    assert dict(mpl.rcParams) == before


def test_what_cannot_be_drawn_is_said(windows: xr.Dataset) -> None:
    with pytest.raises(UsageError, match="no channel 'Pz9'"):
        signals.erp(windows, channel="Pz9")
    with pytest.raises(UsageError, match="no label 'mood'"):
        signals.erp(windows, by="mood")
    with pytest.raises(UsageError, match="values; at most"):
        signals.erp(windows.assign_coords(note=windows["window"].astype(str)), by="note")
    with pytest.raises(UsageError, match="outside of the windows"):
        signals.topomap(windows, 9.0)
    with pytest.raises(UsageError, match="positions"):
        signals.topomap(windows.assign_coords(x=("channel", np.full(129, np.nan))))
    with pytest.raises(UsageError, match="no window with a signal"):
        signals.psd(windows.isel(window=[]))
    with pytest.raises(UsageError, match="holds text"):
        signals.erp_image(windows, sort_by="sex")
