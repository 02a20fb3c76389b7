"""EDF and BDF files read directly give what MNE gives, or are left to MNE."""

from __future__ import annotations

from pathlib import Path

import edfio
import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegzarr.recordings.edf import open_plain
from eegzarr.recordings.reader import read_header, read_windows

SECONDS = 12


def written(path: Path, channels: list[str], rate: int = 100, unit: str = "uV", **options: object) -> Path:
    """A file of random signals, each channel with a range of its own."""
    random = np.random.default_rng(len(channels))
    signals = [
        edfio.EdfSignal(random.normal(i, 10 + i, SECONDS * rate), rate, label=name, physical_dimension=unit)
        if path.suffix == ".edf"
        else edfio.BdfSignal(random.normal(i, 10 + i, SECONDS * rate), rate, label=name, physical_dimension=unit)
        for i, name in enumerate(channels)
    ]
    kind = edfio.Edf if path.suffix == ".edf" else edfio.Bdf
    kind(signals, **options).write(path)
    return path


def by_mne(path: Path, starts: list[int], length: int, channels: tuple[str, ...]) -> np.ndarray:
    raw = mne.io.read_raw(path, preload=True, verbose="error")
    return np.stack([raw.get_data(picks=list(channels), start=s, stop=s + length) * 1e6 for s in starts])


@pytest.fixture(scope="module", params=[".edf", ".bdf"])
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with an annotation channel, as exporters write it."""
    path = tmp_path_factory.mktemp("edf") / f"a{request.param}"
    return written(path, ["Fz", "Cz", "Pz", "Status", "Oz"], annotations=[edfio.EdfAnnotation(1.5, 0.1, "go")])


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, SECONDS * 100 - 150), min_size=1, max_size=12),
    st.integers(1, 150),
    st.permutations(["Fz", "Cz", "Pz", "Oz"]),
    st.integers(1, 4),
)
def test_windows_equal_mnes(plain: Path, starts: list[int], length: int, names: list[str], n: int) -> None:
    channels = tuple(names[:n])
    assert open_plain(plain) is not None
    windows = np.empty((len(starts), n, length), np.float32)
    read_windows(plain, np.array(starts), channels, windows)
    np.testing.assert_allclose(windows, by_mne(plain, starts, length, channels), rtol=1e-6, atol=1e-5)


def test_headers_equal_mnes(plain: Path) -> None:
    header, raw = read_header(plain), mne.io.read_raw(plain, verbose="error")
    assert header.channels == ("Fz", "Cz", "Pz", "Oz")
    assert (header.sfreq, header.n_times) == (raw.info["sfreq"], raw.n_times)


def test_many_windows_in_a_row_are_read_at_once_and_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.bdf", ["Fz", "Cz"])
    monkeypatch.setattr("eegzarr.recordings.edf._RUN_BYTES", 5 * 600)  # five records
    starts = list(range(0, SECONDS * 100 - 200, 50))
    windows = np.empty((len(starts), 2, 200), np.float32)
    read_windows(path, np.array(starts), ("Cz", "Fz"), windows)
    np.testing.assert_allclose(windows, by_mne(path, starts, 200, ("Cz", "Fz")), rtol=1e-6, atol=1e-5)


def test_millivolts_are_millivolts(tmp_path: Path) -> None:
    path = written(tmp_path / "a.edf", ["Fz"], unit="mV")
    windows = np.empty((1, 1, 100), np.float32)
    read_windows(path, np.array([50]), ("Fz",), windows)
    np.testing.assert_allclose(windows, by_mne(path, [50], 100, ("Fz",)), rtol=1e-6)


def altered(path: Path, position: int, content: bytes) -> Path:
    raw = bytearray(path.read_bytes())
    raw[position : position + len(content)] = content
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("position", "content"),
    [
        (192, b"BDF+D"),
        (236, b"-1      "),
        (236, b"11      "),
        (244, b"0       "),
        (256 + 16, b"Fz              "),
        (256 + 2 * 96, b"Pa      "),
        (256 + 2 * 104, b"1       " * 4),
        (256 + 2 * 216, b"50      "),
        (184, b"1024    "),
        (252, b"many"),
    ],
    ids=[
        "interrupted",
        "unknown length",
        "another length",
        "no record length",
        "a name twice",
        "no volts",
        "ranges",
        "rates",
        "header length",
        "signals",
    ],
)
def test_what_is_not_plain_is_left_to_mne(tmp_path: Path, position: int, content: bytes) -> None:
    path = written(tmp_path / "a.bdf", ["Fz", "Cz"])
    assert open_plain(path) is not None
    assert open_plain(altered(path, position, content)) is None


def test_a_file_that_ends_early_is_left_to_mne(tmp_path: Path) -> None:
    path = written(tmp_path / "a.bdf", ["Fz", "Cz"])
    path.write_bytes(path.read_bytes()[:-1])
    assert open_plain(path) is None
    assert open_plain(tmp_path / "none.bdf") is None
    assert open_plain(tmp_path / "a.set") is None
