"""EDF and BDF files read directly give what MNE gives, or are left to MNE."""

from __future__ import annotations

from pathlib import Path

import edfio
import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegzarr.errors import RecordingError
from eegzarr.recordings.edf import open_edf
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
    assert open_edf(plain) is not None
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
        (244, b"0       "),
        (256 + 16, b"Fz              "),
        (256 + 2 * 216, b"0       "),
        (252, b"many"),
    ],
    ids=["no record length", "a name twice", "no samples in a record", "signals"],
)
def test_what_is_not_usual_is_left_to_mne(tmp_path: Path, position: int, content: bytes) -> None:
    path = written(tmp_path / "a.bdf", ["Fz", "Cz"])
    assert open_edf(path) is not None
    assert open_edf(altered(path, position, content)) is None


@pytest.mark.parametrize("told", [b"-1      ", b"11      ", b"99      "])
@pytest.mark.parametrize("missing", [0, 1, 2000])
def test_the_file_says_how_many_records_it_has(tmp_path: Path, told: bytes, missing: int) -> None:
    path = altered(written(tmp_path / "a.bdf", ["Fz", "Cz"]), 236, told)
    path.write_bytes(path.read_bytes()[: path.stat().st_size - missing])
    header = read_header(path)
    assert header.n_times == mne.io.read_raw_bdf(path, verbose="error").n_times
    assert bool(header.notes) == (told != b"-1      " and header.n_times != int(told) * 100)
    windows = np.empty((1, 2, header.n_times), np.float32)
    read_windows(path, np.array([0]), ("Fz", "Cz"), windows)
    np.testing.assert_allclose(windows, by_mne(path, [0], header.n_times, ("Fz", "Cz")), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("field", "content"), [(104, b"5       "), (120, b"7       ")], ids=["physical", "digital"])
def test_a_range_of_nothing_is_refused(tmp_path: Path, field: int, content: bytes) -> None:
    path = written(tmp_path / "a.bdf", ["Fz", "Cz"])
    for offset in (0, 8):
        altered(path, 256 + 2 * (field + offset), content)
    header = read_header(path)
    header.check(("Cz",))
    with pytest.raises(RecordingError, match="Fz has no scale"):
        header.check(("Fz", "Cz"))


def test_what_is_no_such_file_is_left_to_mne(tmp_path: Path) -> None:
    assert open_edf(tmp_path / "none.bdf") is None
    assert open_edf(tmp_path / "a.set") is None


def test_a_header_of_another_length_is_refused_with_both_lengths(tmp_path: Path) -> None:
    path = altered(written(tmp_path / "a.bdf", ["Fz", "Cz"]), 184, b"1024    ")
    with pytest.raises(RecordingError, match="its header has 768 bytes for 2 signals, and says 1024"):
        open_edf(path)
