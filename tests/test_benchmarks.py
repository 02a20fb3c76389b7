"""The benchmarks measure what they say, their parts on known input; and the whole runs, tiny."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import s3fs
import torch

import eegzarr
from benchmarks import environments
from benchmarks.__main__ import REPORTS, main
from benchmarks.bucket import CREDENTIALS
from benchmarks.build import REFERENCE, report, too_large
from benchmarks.environments import REQUIREMENTS
from benchmarks.fetching import LAKE, NAMES, frames
from benchmarks.hbn import epoch, extrapolated
from benchmarks.journal import begin, once
from benchmarks.larger import affordable_windows
from benchmarks.limits import LIMITS
from benchmarks.measure import forget_pages, in_turns, lines, measure, middle, times
from benchmarks.micro import above_ceiling
from benchmarks.order import arrived, order_figures
from benchmarks.plots import draw
from benchmarks.readers import WAYS
from benchmarks.repeat import repeat_lake
from benchmarks.served import served
from benchmarks.source import scaled_source
from benchmarks.stream import report as stream_report
from eegzarr.challenge.presets import CHALLENGE1


@pytest.fixture
def served_folder(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").write_bytes(b"0123456789")
    (tmp_path / "a/c").write_bytes(b"abc")
    with served(tmp_path, "bucket", 0.0) as endpoint:
        yield endpoint


def windows_of(source: Path, lake: Path) -> int:
    eegzarr.build_lake(source, lake, recipe=CHALLENGE1, workers=1)
    return eegzarr.open_windows(lake, "challenge1").sizes["window"]


def test_a_source_twice_as_large_gives_twice_the_windows(sample_root: Path, sample_lake: Path, tmp_path: Path) -> None:
    there = eegzarr.open_windows(sample_lake, "challenge1").sizes["window"]
    twice = scaled_source(sample_root, tmp_path / "twice", 2)
    assert windows_of(twice, tmp_path / "lake.zarr") == 2 * there


def test_a_part_of_a_source_has_its_first_subjects(sample_root: Path, tmp_path: Path) -> None:
    half = scaled_source(sample_root, tmp_path / "half", 0.5)
    people = pd.read_csv(half / "participants.tsv", sep="\t")["participant_id"].tolist()
    every = sorted(folder.name for folder in sample_root.glob("sub-*"))
    assert people == sorted(folder.name for folder in half.glob("sub-*")) == every[: len(every) // 2]


def test_everything_is_measured_once_a_turn(tmp_path: Path) -> None:
    calls: list[str] = []
    jobs = {name: lambda name=name: calls.append(name) or len(calls) for name in "ab"}
    results = in_turns(jobs, 3, title="letters", journal=tmp_path / "journal")
    assert calls == list("ababab")
    assert results == {"a": [1, 3, 5], "b": [2, 4, 6]}


def test_what_takes_long_stays_out_of_further_turns(tmp_path: Path) -> None:
    jobs = {"quick": lambda: 1.0, "slow": lambda: 60.0}
    results = in_turns(jobs, 3, title="walls", journal=tmp_path / "journal", enough=lambda walls: sum(walls) > 100)
    assert results == {"quick": [1.0, 1.0, 1.0], "slow": [60.0, 60.0]}
    assert times(results["quick"], results["slow"]) == 1 / 60


def test_a_way_that_is_left_out_of_a_larger_size_is_plotted_where_it_was_built(tmp_path: Path) -> None:
    run = {"wall": 1.0, "peak_pss": 2**20}
    sizes = {
        "1": {"recordings": 1, "ways": {"kept": [run], "too large": [run]}},
        "4": {"recordings": 4, "ways": {"kept": [run]}},
    }
    assert draw({"build": sizes}, tmp_path) == ["build.svg"]
    assert "too large" in (tmp_path / "build.svg").read_text()


def test_a_run_that_is_broken_off_goes_on_with_what_it_had_not_measured(tmp_path: Path) -> None:
    calls: list[str] = []

    def measure_letter(name: str) -> int:
        calls.append(name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return len(calls)

    jobs = {name: lambda name=name: measure_letter(name) for name in "ab"}
    journal = begin(tmp_path, {"commit": "c0ffee"})
    with pytest.raises(KeyboardInterrupt):
        in_turns(jobs, 2, title="letters", journal=journal)
    with journal.open("a") as file:
        file.write('{"name": "letters: turn 2 of')  # the machine went down while it wrote
    assert begin(tmp_path, {"commit": "c0ffee"}) == journal
    assert in_turns(jobs, 2, title="letters", journal=journal) == {"a": [1, 3], "b": [2, 5]}
    assert calls == list("ababb")


def test_figures_of_another_run_are_not_taken(tmp_path: Path) -> None:
    one, other = (begin(tmp_path, {"commit": commit}) for commit in ("c0ffee", "decade"))
    assert [once(one, "rate", lambda: 1), once(other, "rate", lambda: 2), once(one, "rate", lambda: 3)] == [1, 2, 1]


def test_what_would_not_fit_on_the_disk_is_left_out() -> None:
    ways = {"small": [{"disk_after_read": 1e9}], "large": [{"disk_after_read": 1e9}, {"disk_after_read": 3e9}]}
    assert too_large(ways, growth=4, room=10e9) == {"large": "it would take 12 GB of the 10 GB of disk that it may"}


def test_a_command_s_memory_and_processor_time_are_those_of_its_children_too() -> None:
    child = "x = bytearray(200_000_000)\nimport time\nwhile time.process_time() < 0.6: pass\ntime.sleep(2)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    measured = measure([sys.executable, "-c", parent])
    assert measured.cpu >= 0.6
    assert measured.peak_pss > 200_000_000
    assert measured.wall >= 0.6


def test_a_command_that_fails_tells_what_it_said() -> None:
    with pytest.raises(RuntimeError, match="no such recording"):
        measure([sys.executable, "-c", "raise SystemExit('no such recording')"])


def test_ratios_are_taken_within_a_turn() -> None:
    assert times([10.0, 100.0, 1000.0], [5.0, 50.0, 500.0]) == 2
    assert middle([1.0, 3.0, 2000.0]) == "3 (1–2,000)"


def test_forgetting_pages_leaves_files_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"signal")
    forget_pages([tmp_path])
    assert (tmp_path / "folder" / "file").read_bytes() == b"signal"


@pytest.mark.parametrize("mixed", [True, False])
def test_an_order_is_known_from_the_samples_that_arrive(mixed: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    windows = rng.normal(size=(1280, 2, 16)).astype(np.float32)
    recording = np.arange(1280) // 64
    np.save(tmp_path / "memmap.npy", windows)
    np.savez(tmp_path / "labels.npz", recording=recording, target=recording.astype(np.float32))
    order = rng.permutation(1280) if mixed else np.arange(1280)

    def batches(number: int) -> Iterator[torch.Tensor]:
        return (torch.from_numpy(windows[order[first : first + 128]]) for first in range(0, 1280, 128))

    figures = order_figures(arrived(lambda: batches, tmp_path), tmp_path)
    assert figures["distinct_windows"] == 1
    assert figures["recordings_in_batch_permuted"] > 19
    if mixed:
        assert figures["recordings_in_batch"] > 19
        assert abs(figures["neighbours_correlation"]) < 0.1
    else:
        assert figures["recordings_in_batch"] == 2
        assert figures["neighbours_correlation"] > 0.9


def test_a_repeated_lake_streams_as_many_windows_as_it_is_said_to_hold(sample_lake: Path, tmp_path: Path) -> None:
    repeat_lake(sample_lake, tmp_path / "large.zarr", 1000)
    windows = eegzarr.open_windows(tmp_path / "large.zarr", "challenge1")
    first = eegzarr.open_windows(sample_lake, "challenge1")
    assert windows.sizes["window"] == 1000
    np.testing.assert_array_equal(windows["eeg"][:3].to_numpy(), first["eeg"][:3].to_numpy())


@pytest.mark.parametrize("linked", [True, False])
def test_a_repeated_lake_takes_disk_only_where_its_shards_are_copies(
    linked: bool, sample_lake: Path, tmp_path: Path
) -> None:
    repeat_lake(sample_lake, tmp_path / "large.zarr", 2000, linked=linked)
    shards = [path for path in (tmp_path / "large.zarr/challenge1/R1/eeg/c").rglob("*") if path.is_file()]
    assert len(shards) > 1
    assert len({path.stat().st_ino for path in shards}) == (1 if linked else len(shards))


def test_a_lake_larger_than_memory_is_made_where_the_free_disk_holds_it() -> None:
    assert affordable_windows(bytes_per_window=100e3, memory=20e9, free=38e9) == 300_000
    assert affordable_windows(bytes_per_window=100e3, memory=20e9, free=37e9) == 0


@pytest.mark.parametrize(
    ("header", "bytes_given"),
    [(None, b"0123456789"), ("bytes=2-4", b"234"), ("bytes=7-99", b"789"), ("bytes=8-", b"89"), ("bytes=-3", b"789")],
)
def test_a_served_folder_gives_the_bytes_that_are_asked_for(
    header: str | None, bytes_given: bytes, served_folder: str
) -> None:
    request = urllib.request.Request(f"{served_folder}/bucket/a/b", headers={"Range": header} if header else {})
    with urllib.request.urlopen(request) as response:
        assert response.read() == bytes_given
        assert response.status == (206 if header else 200)


def test_a_served_folder_is_a_bucket_to_s3fs(served_folder: str) -> None:
    filesystem = s3fs.S3FileSystem(endpoint_url=served_folder, key="any", secret="any", skip_instance_cache=True)
    assert filesystem.find("bucket") == ["bucket/a/b", "bucket/a/c"]
    assert filesystem.ls("bucket") == ["bucket/a"]
    assert filesystem.cat_file("bucket/a/b", start=-2) == b"89"
    assert filesystem.info("bucket/a/c")["size"] == 3
    assert not filesystem.exists("bucket/a/d")
    with pytest.raises(FileNotFoundError):
        filesystem.cat_file("bucket/a/d")


def test_a_range_behind_the_end_is_refused(served_folder: str) -> None:
    request = urllib.request.Request(f"{served_folder}/bucket/a/b", headers={"Range": "bytes=10-12"})
    with pytest.raises(urllib.error.HTTPError, match="416"):
        urllib.request.urlopen(request)


def test_each_way_to_make_requests_fetches_all_frames(sample_lake: Path, tmp_path: Path) -> None:
    (tmp_path / LAKE).symlink_to(sample_lake)
    asked, geometry, windows = frames(sample_lake)
    assert len(asked) == -(-windows // geometry.windows_per_frame)
    with served(tmp_path, "bucket", 0.0) as endpoint:
        command = [sys.executable, "-m", "benchmarks.fetching", str(tmp_path), "bucket", *NAMES]
        figures = lines(command, **CREDENTIALS, AWS_ENDPOINT_URL=endpoint)
    assert len(figures) == len(NAMES)
    fetched = sum(one.stop - one.start for one in asked)
    for one in figures:  # bytes and windows are of the same time
        assert one["mb_per_s"] / one["windows_per_s"] == pytest.approx(fetched / windows / 1e6)


def test_many_nodes_wait_for_what_they_share() -> None:
    assert epoch(1, 40_000.0, 100_000.0).breaks_first == "decoding"
    assert epoch(1, 40_000.0, 100_000.0).seconds["decoding"] == pytest.approx(95)
    assert epoch(1000, 40_000.0, 100_000.0).breaks_first == "one file server"
    assert epoch(1, 40_000.0, 100_000.0, disk_bytes_per_s=1e9).breaks_first == "its own disk"


def test_a_line_through_the_largest_lakes_is_extended() -> None:
    assert extrapolated([10, 100, 200], [9.0, 2.0, 3.0], 1000) == pytest.approx(11)


def test_a_cache_that_appears_at_the_first_read_is_told() -> None:
    run = {"wall": 4.0, "cpu": 5.0, "peak_pss": 2**20, "disk": 3e6, "first_read": 0.0, "disk_after_read": 3e6}
    expanded = {**run, "wall": 8.0, "disk_after_read": 12e6, "first_read": 2.0}
    ways = {REFERENCE: [run], "hub": [expanded]}
    text = report({"1": {"recordings": 7, "ways": ways, "left_out": {"LMDB": "too large"}}})
    assert "| hub | 1 | 8.00 | 0.5 × | 5.00 | 1.00 | 3, 12 once read | 2.0 |" in text
    assert "Left out: LMDB: too large" in text


def test_a_peer_that_is_ahead_is_named() -> None:
    def warm(rate: float) -> list[dict[str, float]]:
        figures = dict.fromkeys(("touched_per_s", "cpu_us_per_window", "anonymous_mb", "first_batch_s"), 1.0)
        return [{"windows_per_s": rate, **figures}]

    rates = {"eegzarr": 100.0, "eegzarr, uncompressed": 400.0, "np.memmap": 200.0, "LMDB, pickles": 50.0}
    text = stream_report(
        {
            "workers": dict.fromkeys(rates, 0),
            "warm": {name: warm(rate) for name, rate in rates.items()},
            "limits": {name: [{"windows_per_s": 500.0}] for name in LIMITS},
            "cold": {},
            "order": {},
            "left_out": {},
        }
    )
    assert "ahead of eegzarr, warm: np.memmap (2.00 × eegzarr, 0.50 × eegzarr, uncompressed).\n" in text


def test_a_peer_that_needs_a_python_that_is_not_there_is_left_out_with_that_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "_FOLDER", tmp_path)
    monkeypatch.setitem(environments.REQUIREMENTS, "future", environments.Needs(packages=("future==1",), python=(9, 9)))
    assert environments.environment("future").reason == "not installed: run python -m benchmarks.environments"
    assert environments.make("future") == environments.environment("future")
    assert environments.environment("future").reason == "there is no Python 9.9 or newer on this machine"


def test_hot_paths_stay_near_what_they_cannot_do_without(tmp_path: Path) -> None:
    assert main(["--only", "micro", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "results.json").read_text()
    figures = json.loads(text)["micro"]["figures"]
    assert figures
    assert above_ceiling(figures) == []
    assert not re.search(rf"\b{re.escape(platform.node())}\b", text)  # a short name may be a part of a word
    assert "| path / reference |" in (tmp_path / "results.md").read_text()


def test_a_section_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "bulid"])  # codespell: misspelt
    assert "no section bulid: there are build, stream" in capsys.readouterr().err  # codespell: misspelt


# Two minutes of processor time, most of it imports: five on two cores that are busy. The hot paths have a test above.
@pytest.mark.timeout(900)
def test_everything_runs_and_tells_figures(tmp_path: Path) -> None:
    about = ("processor", "cores", "memory_gib", "file_system", "gpu", "load_before", "python")
    older = {"figures": "of another shape", "report": "", "machine": dict.fromkeys(about, ""), "versions": {}}
    older |= {"commit": "", "command": "", "settings": {"repeat": 1, "source": ""}}
    (tmp_path / "results.json").write_text(json.dumps({"scale": older}))
    sections = set(REPORTS) - {"micro"}
    command = [sys.executable, "-m", "benchmarks", "--smoke", "--out", str(tmp_path), "--scratch", str(tmp_path)]
    command += ["--only", ",".join(sections)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results) == sections
    stream = results["stream"]["figures"]
    # Only peers with an environment of their own may be missing, and tell why.
    left_out = stream["left_out"].items()
    assert {name: reason for name, reason in left_out if WAYS[name].environment not in REQUIREMENTS or not reason} == {}
    rates = {name: runs[0]["windows_per_s"] for name, runs in stream["warm"].items()}
    assert set(rates) == set(WAYS) - set(stream["left_out"])
    assert min(rates.values()) > 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "results.json",
        "results.md",
        "build.svg",
        "stream.svg",
        "scale.svg",
    }
