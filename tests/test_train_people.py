"""Sites that name subjects alike, models of other classes, targets that float32 loses, windows without a target."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from conftest import run_command
from test_train_judged import COUNT, SUBJECTS, WINDOWS, labelled_lake

import eegzarr
from eegzarr.errors import UsageError
from eegzarr.exchange.write import GivenWindows, write_windows
from eegzarr.stream import WindowStream
from eegzarr.train.ensemble import main as ensemble
from eegzarr.train.loop.fit import fit
from eegzarr.train.loop.parts import make_parts
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.loop.who import people, told_apart, without_seen
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.ensemble import held_out_windows
from eegzarr.train.scoring.evaluate import epoch_stream, evaluated_streams
from eegzarr.train.scoring.metrics import subject_interval


def add_site(folder: Path, release: str, labels: dict[str, npt.NDArray]) -> Path:
    """Add a release to a lake whose subjects have the names of the others'."""
    signals = np.random.default_rng(len(release)).normal(0, 10, (COUNT, 4, 50)).astype(np.float32)
    subject = np.repeat(np.arange(SUBJECTS), WINDOWS)
    windows = GivenWindows(
        source="a test",
        channels=("Fz", "Cz", "Pz", "Oz"),
        sfreq=50.0,
        start=0.0,
        n_times=50,
        labels=pd.DataFrame({"subject": [f"S{number:02d}" for number in subject], "recording": subject, **labels}),
        fingerprint=release,
        read=lambda first, out: out.__setitem__(slice(None), signals[first : first + len(out)]),
    )
    write_windows(folder, "given", release, windows, target=next(iter(labels)))
    return folder


def of_people(seed: int) -> npt.NDArray[np.float64]:
    return np.repeat(np.random.default_rng(seed).normal(size=SUBJECTS), WINDOWS)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = labelled_lake(tmp_path_factory.mktemp("sites") / "lake.zarr", {"score": of_people(1)}, target="score")
    return add_site(folder, "B", {"score": of_people(2)})


@pytest.fixture(scope="module")
def options(sites: Path) -> FitOptions:
    return FitOptions(
        lake=str(sites),
        recipe="given",
        fractions=(0.5, 0.25, 0.25),
        model_arguments={"F1": 2},
        epochs=1,
        batch_size=16,
        device="cpu",
        threads=1,
    )


def test_people_of_two_sites_are_told_apart_in_splits_scores_and_intervals(options: FitOptions, tmp_path: Path) -> None:
    summary = fit(options, tmp_path / "run", max_memory=1.0)
    run = RunFolder(tmp_path / "run")
    members = json.loads(run.subjects.read_text())
    assert sum(len(names) for names in members.values()) == len(set().union(*members.values())) == 2 * SUBJECTS
    score = summary.scores["test"]
    assert score.subjects == len(members["test"]) == score.windows / WINDOWS == 6
    assert score.of_subjects is not None  # each person has one score
    rows = pd.read_csv(run.predictions)
    assert set(rows[rows.part == "test"].subject) == set(members["test"])
    # Both sites of a name are held out by themselves.
    left = held_out_windows([run])
    assert {f"{release}/{name}" for release, name in people(left)} == set(members["test"])
    for release in ("all", "B"):
        own = held_out_windows([run], releases=[release])
        assert {f"{place}/{name}" for place, name in people(own)} == {
            name for name in members["test"] if name.startswith(f"{release}/")
        }


def test_folds_lose_nobody_who_shares_a_name_with_a_test_subject(options: FitOptions) -> None:
    parts = make_parts(replace(options, folds=3, fold=1))
    assert parts.test is not None
    each = [set(part.subject.to_numpy().tolist()) for part in (parts.train, parts.valid, parts.test)]
    assert sum(map(len, each)) == len(set().union(*each)) == 2 * SUBJECTS


def test_who_was_seen_at_a_site_that_is_not_there_is_not_held_out(sites: Path) -> None:
    windows = eegzarr.open_windows(sites, "given")
    left = {name: len(people(without_seen(windows, [name], ["all", "B"]))) for name in ("all/S03", "S03", "else/S03")}
    assert left == {"all/S03": 2 * SUBJECTS - 1, "S03": 2 * SUBJECTS - 2, "else/S03": 2 * SUBJECTS - 2}
    (one,) = told_apart(windows.isel(window=windows.release.to_numpy() == "B"))
    assert "S03" in one.subject.to_numpy().tolist()


def test_a_kept_split_of_two_sites_is_of_other_people(options: FitOptions) -> None:
    windows = eegzarr.open_windows(options.lake, "given")
    train, valid = eegzarr.split_by_release(windows, ("all", "B"))
    eegzarr.store_split(options.lake, "given", "sites", {"train": train, "valid": valid})
    parts = make_parts(replace(options, split="sites", fractions=FitOptions.fractions))
    assert not any("in the training part, too" in note for note in parts.notes)
    assert set(parts.valid.subject.to_numpy().tolist()) == {f"B/S{number:02d}" for number in range(SUBJECTS)}


def test_an_interval_counts_people(options: FitOptions) -> None:
    windows = eegzarr.open_windows(options.lake, "given")
    (apart,) = told_apart(windows)
    target = windows.score.to_numpy()
    guess = target + np.random.default_rng(0).normal(size=len(target))
    merged, own = (subject_interval(target, guess, one.subject.to_numpy()) for one in (windows, apart))
    assert merged is not None
    assert own is not None
    assert merged != own


def test_runs_of_other_classes_are_not_averaged(
    options: FitOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    two, three = (np.array([*names], object)[generator.integers(0, len(names), COUNT)] for names in ("lr", "lmr"))
    lake = add_site(labelled_lake(tmp_path / "lake.zarr", {"side": two}, target="side"), "B", {"side": three})
    for release in ("all", "B"):
        fit(replace(options, lake=str(lake), releases=(release,)), tmp_path / release, max_memory=1.0)
    assert ensemble([str(tmp_path / "all"), str(tmp_path / "B")]) == 2
    told = capsys.readouterr().err
    assert "runs of other classes can't be averaged" in told
    assert "all tells apart l, r;" in told
    assert "B tells apart l, m, r" in told


@pytest.mark.parametrize(
    ("offset", "spread", "is_given"),
    [(1.7e9, 10.0, False), (1.7e9, 1e6, True), (1e6, 0.1, False), (0.0, 1e-30, True), (0.0, 1e-50, False)],
)
def test_a_target_whose_differences_float32_loses_is_refused(
    offset: float, spread: float, is_given: bool, options: FitOptions, sites: Path
) -> None:
    values = offset + spread * np.random.default_rng(0).normal(size=2 * COUNT)
    windows = eegzarr.open_windows(sites, "given").assign_coords(when=("window", values))
    if is_given:
        stream = WindowStream(windows, 8, target="when", rank=0, ranks=1)
        assert stream.targets is not None
        np.testing.assert_allclose(stream.targets - np.float64(offset), values - offset, atol=0.01 * spread)
        return
    with pytest.raises(UsageError, match=r"the label 'when' has values around .*: predict their difference to a fixed"):
        WindowStream(windows, 8, target="when", rank=0, ranks=1)


def test_an_epoch_is_scored_on_windows_that_have_a_target(options: FitOptions, tmp_path: Path) -> None:
    number = np.random.default_rng(0).normal(size=COUNT)
    number[np.arange(COUNT) % WINDOWS != 5] = np.nan  # each subject has one
    lake = labelled_lake(tmp_path / "lake.zarr", {"number": number}, target="number")
    own = replace(options, lake=str(lake), valid_windows=2)
    parts = make_parts(own)
    stream = WindowStream(parts.train, 4, balance="target", rank=0, ranks=1)
    assert stream.left_out["no target"] == parts.train.sizes["window"] - stream.n_windows
    assert stream.targets is not None
    assert np.isfinite(stream.targets).all()
    assert epoch_stream(parts, evaluated_streams(parts, 16), 16, 2).n_windows == 3  # one of each subject


def test_compiling_without_a_compiler_is_one_line(options: FitOptions, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    quick = ["--recipe", "given", "--epochs", "1", "--batch-size", "16", "--device", "cpu", "--max-memory", "100%"]
    result = run_command("eegzarr.train", options.lake, *quick, "--compile", "--out", tmp_path / "run")
    assert result.returncode == 2, result.stderr
    assert "--compile: torch.compile doesn't work on cpu here" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()
