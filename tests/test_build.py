"""Builds as users run them: whole, interrupted, killed, given bad input."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import psutil
import pytest
import xarray as xr
from clusters import worker_in_this_process
from conftest import SMALL_SHARDS, run_command, tree_digests
from zarr.storage import LocalStore

import eegzarr
from eegzarr.build import group
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.errors import BuildStopped, EegzarrError, LakeError
from eegzarr.events import BuildBegan, Inspected
from eegzarr.recipes.trials import trial_table
from eegzarr.store.layout import LABELS
from eegzarr.store.verify import verify_lake
from eegzarr.watch.interrupts import Interrupts

GROUP = "challenge1/R1"


@pytest.fixture(scope="module")
def windows(sample_lake: Path) -> xr.Dataset:
    return xr.open_zarr(sample_lake, group=GROUP).load()


def build_arguments(source: Path, out: Path, *more: object) -> list[str]:
    shards = ["--shard-size", str(SMALL_SHARDS)]
    return ["eegzarr.build", "--source", str(source), "--out", str(out), *shards, *map(str, more)]


def start_build(source: Path, out: Path, *more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *build_arguments(source, out, *more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_every_trial_with_a_whole_window_is_there(windows: xr.Dataset, sample_root: Path) -> None:
    expected = []
    for path in sorted(sample_root.glob("sub-*/eeg/*contrastChangeDetection*_events.tsv")):
        trials = trial_table(pd.read_csv(path, sep="\t"), CHALLENGE1.events)
        answered = trials.dropna(subset=["stimulus_onset", "response_onset"])
        duration = mne.io.read_raw_bdf(str(path).replace("_events.tsv", "_eeg.bdf"), verbose="error").n_times / 100
        expected.append(answered[answered["stimulus_onset"] + 2.5 <= duration])
    table = pd.concat(expected, ignore_index=True)
    assert windows.sizes["window"] == len(table)
    for name in ("stimulus_onset", "response_onset", "rt_from_stimulus", "rt_from_trialstart", "correct"):
        np.testing.assert_array_equal(windows[name], table[name], err_msg=name)
    assert windows["response_type"].values.tolist() == table["response_type"].tolist()
    np.testing.assert_allclose(windows["target"], table["rt_from_stimulus"], rtol=1e-6)


def test_signals_are_mnes_own(windows: xr.Dataset, sample_root: Path, sample_lake: Path) -> None:
    table = xr.open_zarr(sample_lake, group=f"{GROUP}/recordings").load()
    for index in range(0, windows.sizes["window"], 17):
        window = windows.isel(window=index)
        raw = mne.io.read_raw_bdf(sample_root / str(table["path"].values[int(window["recording"])]), verbose="error")
        start = round(float(window["start"]) * 100)
        assert start == round(float(window["stimulus_onset"]) * 100) + 50
        expected = raw.get_data(start=start, stop=start + 200) * 1e6
        np.testing.assert_allclose(window["eeg"], expected, atol=1e-3)


def test_every_variable_of_the_format_is_there(windows: xr.Dataset) -> None:
    for name, (dtype, units, _) in LABELS.items():
        variable = windows[name]
        assert variable.dims == ("window",), name
        assert variable.dtype.kind in "TO" if dtype == "str" else variable.dtype == dtype, name  # O: of xarray 2025.6
        assert variable.attrs.get("units", "") == units
        assert variable.attrs["long_name"]
    assert windows["eeg"].dims == ("window", "channel", "time")
    assert windows["eeg"].attrs["units"] == "uV"
    assert windows["eeg"].dtype == np.float32
    assert windows["time"].values[[0, -1]].tolist() == [0.5, 2.49]
    assert windows["channel"].values[[0, 127, 128]].tolist() == ["E1", "E128", "Cz"]
    assert np.isfinite(windows["x"]).all()
    assert windows["window"].values.tolist() == list(range(windows.sizes["window"]))
    assert windows["valid"].all()
    assert {"status": "complete", "format_version": "1", "sampling_rate": 100.0}.items() <= windows.attrs.items()


def test_quality_and_statistics_are_those_of_the_signals(windows: xr.Dataset, sample_lake: Path) -> None:
    signal = windows["eeg"].values.astype(float)
    np.testing.assert_allclose(windows["peak_to_peak"], np.ptp(signal, axis=2).max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(windows["mean"], signal.mean(axis=(0, 2)), atol=1e-9)
    np.testing.assert_allclose(windows["std"], signal.std(axis=(0, 2)), rtol=1e-9)
    table = xr.open_zarr(sample_lake, group=f"{GROUP}/recordings").load()
    for row in np.unique(windows["recording"]):
        own = signal[windows["recording"].values == row]
        assert (table["count"][row] == own.shape[0] * own.shape[2]).all()
        np.testing.assert_allclose(table["mean"][row], own.mean(axis=(0, 2)), atol=1e-9)
        np.testing.assert_allclose(table["sum_of_squares"][row], (own**2).sum(axis=(0, 2)), rtol=1e-9)


def test_labels_of_subjects_are_those_of_participants_tsv(windows: xr.Dataset, sample_root: Path) -> None:
    people = pd.read_csv(sample_root / "participants.tsv", sep="\t", index_col="participant_id")
    rows = people.loc[[f"sub-{name}" for name in windows["subject"].values.tolist()]]
    for name in ("age", "attention", "externalizing"):
        np.testing.assert_allclose(windows[name], rows[name].astype(np.float32), err_msg=name)
    assert windows["sex"].values.tolist() == rows["sex"].tolist()
    assert np.isnan(windows["attention"]).any()  # the sample has a subject without
    flagged = windows["availability"].values == "caution"
    assert set(windows["run"].values[flagged].tolist()) == {"2"}


def test_what_gave_no_window_is_told_with_its_reason(sample_lake: Path) -> None:
    table = xr.open_zarr(sample_lake, group=f"{GROUP}/recordings").load()
    skipped = table.isel(recording=table["windows"].values == 0)
    assert skipped["reason"].values.tolist() == ["no trials in events.tsv"]
    assert skipped["status"].values.tolist() == ["skipped"]
    assert int(table["dropped"].sum()) == 1


def test_the_number_of_workers_changes_no_byte(sample_root: Path, sample_lake: Path, tmp_path: Path) -> None:
    eegzarr.build_lake(sample_root, tmp_path / "one.zarr", recipe=CHALLENGE1, workers=1, shard_size=SMALL_SHARDS)
    assert tree_digests(tmp_path / "one.zarr") == tree_digests(sample_lake)


def test_a_second_run_finds_it_complete_and_touches_no_shard(sample_root: Path, sample_lake: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in sample_lake.rglob("c/*/0/0")}
    summary = eegzarr.build_lake(sample_root, sample_lake, recipe=CHALLENGE1)
    assert summary.already
    assert summary.windows > 200
    assert before == {path: path.stat().st_mtime_ns for path in sample_lake.rglob("c/*/0/0")}


@pytest.mark.parametrize("victim", ["main", "worker", "ctrl-c", "sigterm"])
def test_a_build_broken_off_goes_on_to_the_same_bytes(
    victim: str, sample_root: Path, sample_lake: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lake.zarr"
    build = start_build(sample_root, out)
    receipts = out / GROUP / "build/receipts/c"
    wait_for(lambda: receipts.exists() and any(receipts.iterdir()), build)
    finished = {path: path.stat().st_mtime_ns for path in finished_shards(out)}
    if victim == "worker":
        # Forked from a child, or, where that isn't safe, started one by one.
        below = psutil.Process(build.pid).children(recursive=True)
        workers = [p for p in below if p.ppid() != build.pid or "spawn_main" in " ".join(p.cmdline())]
        workers[-1].kill()
        assert build.wait(60) == 0, build.stdout.read() if build.stdout else ""
    else:
        _break_off(build, victim)
        code = build.wait(60)
        output = build.stdout.read() if build.stdout else ""
        assert code == (-signal.SIGKILL if victim == "main" else 130), output
        assert "Traceback" not in output
        again = run_command(*build_arguments(sample_root, out))
        assert again.returncode == 0, again.stderr
        assert "finished before" in again.stderr
        assert finished.items() <= {path: path.stat().st_mtime_ns for path in finished_shards(out)}.items()
    assert tree_digests(out) == tree_digests(sample_lake)


def _break_off(build: subprocess.Popen[str], how: str) -> None:
    if how == "ctrl-c":
        os.killpg(build.pid, signal.SIGINT)  # a terminal gives it to all processes
    elif how == "sigterm":
        os.killpg(build.pid, signal.SIGTERM)  # and so does SLURM
    else:
        build.kill()


def test_an_interrupted_request_prints_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, threading, time\n"
        "from eegzarr.build.workers.cluster import local_client\n"
        "from eegzarr.build.workers.resources import Resources\n"
        "if __name__ == '__main__':\n"
        "    with local_client(Resources(workers=1, memory=2**30)) as client:\n"
        "        sleeping = client.submit(time.sleep, 1, pure=False)\n"
        "        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "        try:\n"
        "            client.gather(sleeping)\n"
        "        except KeyboardInterrupt:\n"
        "            print('interrupted')\n"
        "        del sleeping\n"
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("interrupted\n", "", 0)


def test_a_script_whose_workers_would_build_again_is_told_what_to_do(sample_root: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import eegzarr\neegzarr.build_lake({str(sample_root)!r}, {str(tmp_path / 'lake.zarr')!r}, "
        "recipe=eegzarr.load_recipe('challenge1'), workers=1)\n"
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 1
    assert "put what builds below `if __name__ == '__main__':`" in ran.stderr.splitlines()[-1]
    assert not (tmp_path / "lake.zarr").exists()


def test_kills_at_random_moments_change_no_byte(sample_root: Path, sample_lake: Path, tmp_path: Path) -> None:
    out = tmp_path / "lake.zarr"
    moments = random.Random(2025)
    for _ in range(int(os.environ.get("EEGZARR_KILLS", "4"))):
        build = start_build(sample_root, out, "--workers", moments.choice([1, 2]))
        time.sleep(moments.uniform(0.5, 4.5))
        build.kill()
        build.wait()
    final = run_command(*build_arguments(sample_root, out))
    assert final.returncode == 0, final.stderr
    assert tree_digests(out) == tree_digests(sample_lake)


@pytest.mark.parametrize("left", [GROUP, "zarr.0f.partial", f"{Path(GROUP).parent}/zarr.0f.partial"])
def test_a_build_killed_before_its_first_file_goes_on(
    left: str, sample_root: Path, sample_lake: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lake.zarr"
    (out / GROUP).mkdir(parents=True)
    if left != GROUP:
        (out / left).write_text("{")
    eegzarr.build_lake(sample_root, out, recipe=CHALLENGE1, workers=1, shard_size=SMALL_SHARDS)
    assert tree_digests(out) == tree_digests(sample_lake)


def test_a_folder_with_files_of_its_own_is_left_alone(sample_root: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis/figures").mkdir(parents=True)
    (tmp_path / "thesis/figures/1.svg").touch()
    with pytest.raises(LakeError, match="has files in it but no lake"):
        eegzarr.build_lake(sample_root, tmp_path / "thesis", recipe=CHALLENGE1, workers=1)
    assert list((tmp_path / "thesis").iterdir()) == [tmp_path / "thesis/figures"]


@pytest.mark.parametrize(
    "first_missing",
    ["age/c/0", "recordings/path/c/0", "shards/crc32c/zarr.json", "checksums/file/c/0", "checksums/zarr.json"],
)
def test_a_finish_that_was_broken_off_is_done_again(
    first_missing: str, sample_root: Path, sample_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "lake.zarr"
    options = {"recipe": CHALLENGE1, "workers": 1, "shard_size": SMALL_SHARDS}
    real = LocalStore.set

    async def set_until_full(store: LocalStore, key: str, value: Any) -> None:
        if key == f"{GROUP}/{first_missing}":
            raise OSError(errno.ENOSPC, "No space left on device")
        await real(store, key, value)

    with monkeypatch.context() as full:
        full.setattr(LocalStore, "set", set_until_full)
        with pytest.raises(BuildStopped, match="no space left"):
            eegzarr.build_lake(sample_root, out, **options)
    eegzarr.build_lake(sample_root, out, **options)
    assert tree_digests(out) == tree_digests(sample_lake)


def test_a_finish_that_was_broken_off_after_all_but_the_tidying_is_done_again(
    sample_root: Path, sample_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settle(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "lake.zarr"
    options = {"recipe": CHALLENGE1, "workers": 1, "shard_size": SMALL_SHARDS}
    with monkeypatch.context() as broken:
        broken.setattr(group, "settle", settle)
        with pytest.raises(KeyboardInterrupt):
            eegzarr.build_lake(sample_root, out, **options)
    eegzarr.build_lake(sample_root, out, **options)
    assert tree_digests(out) == tree_digests(sample_lake)


def test_a_recording_that_goes_away_in_mid_build_stops_it_and_nothing_is_lost(
    sample_root: Path, sample_lake: Path, tmp_path: Path
) -> None:
    root, out = tmp_path / "bids", tmp_path / "lake.zarr"
    shutil.copytree(sample_root, root)
    victim = sorted(root.glob("sub-*/eeg/*run-1_eeg.bdf"))[-1]
    aside = tmp_path / "aside.bdf"

    def vanish(event: object) -> None:
        if isinstance(event, BuildBegan):
            victim.rename(aside)

    options: dict[str, Any] = {"recipe": CHALLENGE1, "workers": 1, "shard_size": SMALL_SHARDS}
    with pytest.raises(BuildStopped, match=f"{victim.name} went away .*restore it and run the same command again"):
        eegzarr.build_lake(root, out, listeners=[vanish], **options)
    aside.rename(victim)
    eegzarr.build_lake(root, out, **options)
    mine, whole = (xr.open_zarr(lake, group=GROUP).load() for lake in (out, sample_lake))
    xr.testing.assert_equal(mine, whole)


def test_a_source_that_goes_away_in_mid_build_is_named_not_the_workers(sample_root: Path, tmp_path: Path) -> None:
    root, aside = tmp_path / "bids", tmp_path / "aside"
    shutil.copytree(sample_root, root)

    def vanish(event: object) -> None:
        if isinstance(event, BuildBegan):
            root.rename(aside)

    message = f"the build doesn't see the source {root}: restore it, and run the same command again"
    with worker_in_this_process(), pytest.raises(BuildStopped, match=message):
        eegzarr.build_lake(root, tmp_path / "lake.zarr", recipe=CHALLENGE1, workers=1, listeners=[vanish])


def test_two_groups_built_at_once_are_both_in_the_consolidated_metadata(sample_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "lake.zarr"
    recipes = ("challenge1", "challenge2")
    command = [sys.executable, "-m", "eegzarr.build", "--source", str(sample_root), "--out", str(out), "--workers", "1"]
    builds = [subprocess.Popen([*command, "--recipe", recipe], stdout=subprocess.DEVNULL) for recipe in recipes]
    assert [build.wait(120) for build in builds] == [0, 0]
    for recipe in recipes:
        assert xr.open_zarr(out, group=f"{recipe}/R1", consolidated=True).sizes["window"] > 0


def test_two_builds_of_a_group_at_once_do_no_harm(sample_root: Path, sample_lake: Path, tmp_path: Path) -> None:
    out = tmp_path / "lake.zarr"
    builds = [start_build(sample_root, out, "--workers", 1) for _ in range(2)]
    outputs = [build.communicate(timeout=120)[0] for build in builds]
    codes = sorted(build.returncode for build in builds)
    assert codes in ([0, 0], [0, 1]), outputs
    if codes == [0, 1]:
        assert any("being built by another process" in output for output in outputs)
    assert not any("Traceback" in output for output in outputs)
    assert tree_digests(out) == tree_digests(sample_lake)


def test_a_source_that_changed_is_named(sample_root: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "bids", tmp_path / "lake.zarr"
    shutil.copytree(sample_root, root)
    eegzarr.build_lake(root, out, recipe=CHALLENGE1, workers=1)
    before = tree_digests(out)
    recordings = sorted(root.glob("sub-*/eeg/*run-1_eeg.bdf"))
    recordings[0].unlink()
    recordings[1].write_bytes(recordings[1].read_bytes() + b"more")
    told = run_command("eegzarr.build", "--source", root, "--out", out)
    assert told.returncode == 1
    assert "1 removed" in told.stderr
    assert recordings[0].name in told.stderr
    assert "1 altered" in told.stderr
    assert "--overwrite" in told.stderr
    assert tree_digests(out) == before
    assert run_command("eegzarr.build", "--source", root, "--out", out, "--overwrite").returncode == 0
    rebuilt = xr.open_zarr(out, group=GROUP)
    assert rebuilt.sizes["window"] < 240


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--source", "{tmp}/missing"], 2, "doesn't exist"),
        (["--source", "{tmp}/empty"], 2, "is empty"),
        (["--source", "{tmp}/nobids"], 2, "a BIDS dataset"),
        (["--source", "{tmp}/nobids/file.txt"], 2, "is a file"),
        (["--source", "{sample}", "--recipe", "challenge9"], 2, "choose challenge1, challenge2, continuous"),
        (["--source", "{sample}", "--recipe", "{tmp}/absent.toml"], 2, "absent.toml"),
        (["--source", "{sample}", "--recipe", "{tmp}/rest.toml"], 2, "no recording of the task sleep"),
        (["--source", "{sample}", "--memory-limit", "300MiB"], 2, "at least"),
        (["--source", "{sample}", "--memory-limit", "much"], 2, "a size"),
        (["--source", "{sample}", "--name", "a/b"], 2, "--name"),
        (["--source", "{sample}", "--workers", "0"], 2, "--workers"),
    ],
)
def test_bad_input_is_one_line_and_touches_nothing(
    arguments: list[str], code: int, told: str, sample_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "nobids").mkdir()
    (tmp_path / "nobids/file.txt").write_text("x")
    (tmp_path / "rest.toml").write_text(
        'anchor="recording"\nstride=1\ntarget="age"\ntasks="sleep"\n[span]\nstart=0\nstop=1\n'
    )
    filled = [text.format(tmp=tmp_path, sample=sample_root) for text in arguments]
    before = sorted(tmp_path.rglob("*"))
    result = run_command("eegzarr.build", *filled, "--out", tmp_path / "out/lake.zarr")
    assert result.returncode == code, result.stderr
    assert told in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_that_is_something_else_is_left_alone(sample_root: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1.tex").write_text("x")
    for out in (tmp_path / "thesis", tmp_path / "thesis/chapter1.tex"):
        result = run_command("eegzarr.build", "--source", sample_root, "--out", out)
        assert result.returncode == 1
        assert str(out) in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert [p.name for p in tmp_path.rglob("*")] == ["thesis", "chapter1.tex"]


def test_a_lake_of_another_recipe_is_left_alone(sample_root: Path, sample_lake: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "challenge1.toml"
    recipe.write_text('anchor="stimulus"\ntarget="rt_from_stimulus"\n[span]\nstart=0\nstop=1\n')
    before = tree_digests(sample_lake)
    refused = {
        "another recipe": ["--recipe", recipe],
        "has the dtype float32: give --dtype float32": ["--dtype", "float16"],
        "has the compression lz4: give --compression lz4": ["--compression", "none"],
    }
    for told, more in refused.items():
        result = run_command("eegzarr.build", "--source", sample_root, "--out", sample_lake, *more)
        assert result.returncode == 1
        assert told in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert tree_digests(sample_lake) == before


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_no_compression_changes_a_sample(
    compression: str, sample_root: Path, sample_lake: Path, tmp_path: Path
) -> None:
    eegzarr.build_lake(sample_root, tmp_path / "lake", recipe=CHALLENGE1, workers=1, compression=compression)
    windows, before = (eegzarr.open_windows(lake, "challenge1") for lake in (tmp_path / "lake", sample_lake))
    np.testing.assert_array_equal(windows["eeg"].to_numpy(), before["eeg"].to_numpy())
    plainly = xr.open_zarr(tmp_path / "lake", group="challenge1/R1")["eeg"].to_numpy()
    np.testing.assert_array_equal(plainly, before["eeg"].to_numpy())
    assert verify_lake(tmp_path / "lake") == []


def test_a_compression_that_there_is_not_is_named(sample_root: Path, tmp_path: Path) -> None:
    with pytest.raises(EegzarrError, match="compression must be lz4 or zstd or none, got 'gzip'"):
        eegzarr.build_lake(sample_root, tmp_path / "lake", recipe=CHALLENGE1, compression="gzip")


def test_strict_tells_skipped_recordings_by_its_exit_code(sample_root: Path, sample_lake: Path) -> None:
    result = run_command("eegzarr.build", "--source", sample_root, "--out", sample_lake, "--strict")
    assert result.returncode == 3
    assert "1 x no trials in events.tsv" in result.stdout


def test_float16_is_half_the_size_and_near_enough(sample_root: Path, windows: xr.Dataset, tmp_path: Path) -> None:
    out = tmp_path / "lake.zarr"
    summary = eegzarr.build_lake(sample_root, out, recipe=CHALLENGE1, workers=2, dtype="float16")
    half = xr.open_zarr(out, group=GROUP).load()
    assert half["eeg"].dtype == np.float16
    assert summary.nbytes < 0.6 * windows["eeg"].nbytes
    np.testing.assert_allclose(half["eeg"], windows["eeg"], rtol=2**-11, atol=1e-7)
    assert half["peak_to_peak"].values.tolist() == windows["peak_to_peak"].values.tolist()
    exact = windows["eeg"].values.astype(np.float64)
    error = np.abs(half["eeg"].values - exact)
    assert half.attrs["largest_error_uV"] == pytest.approx(error.max(), rel=1e-6)
    relative = (error / np.maximum(np.abs(exact), 2**-14)).max()
    assert half.attrs["largest_relative_error"] == pytest.approx(relative, rel=1e-6)
    assert 2**-12 < relative <= 2**-11
    assert not {name for name in windows.attrs if "error" in name}


def test_adding_a_release_touches_no_other_group(two_release_lake: Path, sample_lake: Path) -> None:
    first = tree_digests(sample_lake / GROUP)
    assert tree_digests(two_release_lake / GROUP) == first
    assert xr.open_zarr(two_release_lake, group="challenge1/R2").sizes["window"] > 50


def finished_shards(lake: Path) -> list[Path]:
    receipts = lake / GROUP / "build/receipts/c"
    if not receipts.exists():
        return sorted((lake / GROUP).glob("eeg/c/*/0/0"))
    return [lake / GROUP / f"eeg/c/{receipt.name}/0/0" for receipt in receipts.iterdir() if receipt.name.isdigit()]


def wait_for(condition, build: subprocess.Popen[str], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert build.poll() is None, build.stdout.read() if build.stdout else "the build ended"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a system without terminals that hang up")
def test_a_terminal_that_is_closed_interrupts_a_build_unless_it_was_started_with_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may themselves be run with nohup
    try:
        with pytest.raises(KeyboardInterrupt), Interrupts():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with Interrupts():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interrupt_that_python_drops_is_raised_at_the_next_event(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: dropped.append(raised.exc_type))

    class Freed:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)  # the handler is called here, at the latest

    told = Inspected(done=1, total=2)
    with Interrupts() as interrupts:
        interrupts(told)
        freed = Freed()
        del freed
        assert dropped == [KeyboardInterrupt]
        with pytest.raises(KeyboardInterrupt):
            interrupts(told)
