"""Recordings and the sidecars that apply to them, from a dataset's list of files; held against mne-bids."""

from __future__ import annotations

from pathlib import Path

import mne_bids
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eegzarr.bids.files import list_local
from eegzarr.bids.recordings import Recording, find_recordings

S = "sub-01/eeg/sub-01_task-x"


def found(*files: str) -> dict[str, Recording]:
    return {recording.path: recording for recording in find_recordings(files)}


def test_one_recording_of_a_stem_in_several_formats() -> None:
    (one,) = found(f"{S}_eeg.edf", f"{S}_eeg.set", f"{S}_eeg.fdt").values()
    assert one.path == f"{S}_eeg.edf"
    assert one.files == (f"{S}_eeg.edf",)
    assert "sub-01_task-x_eeg.set" in one.notes[0]


def test_a_split_recording_is_one_with_all_its_files() -> None:
    parts = [f"sub-01/eeg/sub-01_task-x_split-{n:02d}_eeg.fif" for n in (1, 2, 3)]
    (one,) = found(*parts[::-1]).values()
    assert one.files == tuple(parts)
    neuromag = [f"{S}_eeg.fif", *(f"{S}_eeg-{n}.fif" for n in range(1, 12))]
    (other,) = found(*neuromag).values()
    assert other.files == tuple(neuromag)


def test_a_split_without_its_first_part_says_so() -> None:
    (one,) = found("sub-01/eeg/sub-01_task-x_split-02_eeg.fif").values()
    assert one.reason == "split 1 of it isn't there"


@pytest.mark.parametrize("suffix", [".EDF", ".Set", ".gdf", ".cnt", ".mff", ".fif.gz", ".vhdr"])
def test_suffixes_in_any_case_are_read(suffix: str) -> None:
    (one,) = found(f"{S}_eeg{suffix}").values()
    assert not one.reason
    assert one.task == "x"


def test_a_folder_in_capitals_is_read() -> None:
    (one,) = found("sub-01/ses-2/EEG/sub-01_ses-2_task-x_eeg.edf").values()
    assert not one.reason


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (f"{S}_eeg.edf.gz", "unpack it"),
        (f"{S}_eeg.nwb", "NWB files aren't read"),
        (f"{S}_eeg.xyz", "isn't known"),
        (f"{S}_eeg", "no suffix"),
        (f"{S}_eeg.eeg", "there is no sub-01_task-x_eeg.vhdr"),
        (f"{S}_eeg.fdt", "there is no sub-01_task-x_eeg.set"),
        ("sub-01/eeg/recording.edf", "no BIDS name"),
        ("sub-01/sub-01_task-x_eeg.edf", "outside of an eeg folder"),
        ("S001.edf", "no BIDS name"),
        ("sub-01/eeg/sub-02_task-x_eeg.edf", "lies in sub-01 but is named sub-02"),
        ("sub-01/backup/eeg/sub-01_task-x_eeg.edf", "lies in sub-01/backup/eeg, where BIDS has no recordings"),
        ("sub-01/ses-1/old/eeg/sub-01_ses-1_task-x_eeg.edf", "lies in sub-01/ses-1/old/eeg"),
        (f"{S}_split-02_eeg.edf", "is split 2 of a recording, which only FIF files lead to"),
        ("sub-01/ses-1/eeg/sub-01_ses-2_task-x_eeg.edf", "lies in ses-1 but is named ses-2"),
    ],
)
def test_what_could_be_a_recording_has_a_row_with_its_reason(path: str, reason: str) -> None:
    assert reason in found(path)[path].reason


@pytest.mark.parametrize(
    "path",
    [
        f"{S}_channels.tsv",
        f"{S}_eeg.json",
        "sub-01/eeg/sub-01_photo.jpg",
        "sub-01/eeg/._sub-01_task-x_eeg.edf",
        "sub-01/beh/sub-01_task-x_eyetrack.edf",
        "sub-01/meg/sub-01_task-x_meg.fif",
        "sub-01/ieeg/sub-01_task-x_ieeg.edf",
        "sub-01/beh/sub-01_task-x_beh.mat",
    ],
)
def test_what_is_no_recording_has_no_row(path: str) -> None:
    assert found(path) == {}


def test_companions_with_the_name_of_their_header_are_its_files() -> None:
    (one,) = found(f"{S}_eeg.vhdr", f"{S}_eeg.EEG", f"{S}_eeg.vmrk").values()
    assert set(one.files) == {f"{S}_eeg.vhdr", f"{S}_eeg.EEG", f"{S}_eeg.vmrk"}


def test_further_entities_and_the_session_of_the_folder_are_kept() -> None:
    (one,) = found("sub-01/ses-9/eeg/sub-01_task-x_acq-a_run-02_desc-b_eeg.bdf").values()
    assert (one.session, one.run, one.entities) == ("9", "02", "acq-a_desc-b")
    assert "ses-9" in one.notes[0]


def test_electrodes_of_the_heads_own_space_come_first() -> None:
    spaces = ("ACPC", "CapTrak", "fsaverage")
    there = [
        f"sub-01/eeg/sub-01_space-{space}_{kind}" for space in spaces for kind in ("electrodes.tsv", "coordsystem.json")
    ]
    (one,) = found(f"{S}_eeg.edf", *there).values()
    assert {path for path in one.sidecars if "space" in path} == {path for path in there if "CapTrak" in path}


def test_sidecars_apply_by_inheritance() -> None:
    files = [
        "task-x_eeg.json",
        "task-y_eeg.json",
        "eeg.json",
        "task-x_events.tsv",
        "sub-01/sub-01_task-x_events.tsv",
        "sub-01/sub-01_task-x_run-1_events.tsv",
        "sub-01/eeg/sub-01_task-x_run-2_events.tsv",
        "sub-01/eeg/sub-01_space-CapTrak_electrodes.tsv",
        "sub-01/eeg/sub-01_space-CapTrak_coordsystem.json",
        "sub-01/eeg/sub-01_task-x_run-1_eeg.edf",
        "sub-01/eeg/sub-01_task-x_run-2_eeg.edf",
        "sub-01/eeg/sub-01_task-x_eeg.edf",
        "sub-02/eeg/sub-02_task-x_eeg.edf",
    ]
    there = found(*files)
    assert there["sub-01/eeg/sub-01_task-x_run-1_eeg.edf"].events == "sub-01/sub-01_task-x_run-1_events.tsv"
    assert there["sub-01/eeg/sub-01_task-x_run-2_eeg.edf"].events == "sub-01/eeg/sub-01_task-x_run-2_events.tsv"
    assert there["sub-01/eeg/sub-01_task-x_eeg.edf"].events == "sub-01/sub-01_task-x_events.tsv"
    assert there["sub-02/eeg/sub-02_task-x_eeg.edf"].events == "task-x_events.tsv"
    assert there["sub-01/eeg/sub-01_task-x_eeg.edf"].sidecars == (
        *("eeg.json", "task-x_eeg.json"),
        *("sub-01/eeg/sub-01_space-CapTrak_electrodes.tsv", "sub-01/eeg/sub-01_space-CapTrak_coordsystem.json"),
    )
    assert there["sub-02/eeg/sub-02_task-x_eeg.edf"].sidecars == ("eeg.json", "task-x_eeg.json")


LEVELS = ["", "sub-01", "sub-01/ses-a", "sub-01/ses-a/eeg"]


@settings(max_examples=40)
@given(
    sidecars=st.sets(st.tuples(st.integers(1, 3), st.booleans(), st.booleans()), min_size=1, max_size=4),
    run=st.sampled_from(["1", ""]),
)
def test_the_events_of_a_recording_are_those_that_mne_bids_finds(
    sidecars: set[tuple[int, bool, bool]], run: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("layout")
    folder = root / LEVELS[3]
    folder.mkdir(parents=True)
    of_run = f"_run-{run}" if run else ""
    (folder / f"sub-01_ses-a_task-x{of_run}_eeg.edf").touch()
    for level, with_session, with_run in sidecars:
        session = "_ses-a" if with_session or level > 1 else ""
        (root / LEVELS[level] / f"sub-01{session}_task-x{of_run if with_run else ''}_events.tsv").touch()
    (ours,) = find_recordings(list_local(root))
    assert ours.events.rpartition("/")[0] == LEVELS[max(level for level, _, _ in sidecars)]  # BIDS: the nearest
    path = mne_bids.BIDSPath(
        root=root, subject="01", session="a", task="x", run=run or None, suffix="eeg", extension=".edf", datatype="eeg"
    )
    if len(list(root.rglob("*_events.tsv"))) == 1:  # of several mne-bids takes the one with most entities, or none
        assert root / ours.events == Path(path.find_matching_sidecar(suffix="events", extension=".tsv"))


def test_the_files_of_a_dataset_are_listed_without_its_derivatives(tmp_path: Path) -> None:
    for path in (
        *(
            "participants.tsv",
            "sub-01/eeg/a_eeg.edf",
            "sub-01/eeg/b_eeg.mff/signal1.bin",
            "sourcedata/sub-01/eeg/c.edf",
        ),
        *("derivatives/x/sub-01/eeg/d_eeg.edf", ".git/annex/objects/e.edf", "lake.zarr/zarr.json"),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "sub-01/eeg/f_eeg.edf").symlink_to("nowhere")
    listed = ["participants.tsv", "sub-01/eeg/a_eeg.edf", "sub-01/eeg/b_eeg.mff", "sub-01/eeg/f_eeg.edf"]
    assert list_local(tmp_path) == listed
