"""What a run reports: the evaluator's score, by one process or several, with honest intervals and robust scales."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import root_mean_squared_error

import eegzarr
from eegzarr.challenge.submission import load_submission
from eegzarr.errors import UsageError
from eegzarr.exchange.write import GivenWindows, write_windows
from eegzarr.train.loop.fit import fit, resume
from eegzarr.train.loop.parts import make_parts
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.models.readout import Linear
from eegzarr.train.models.ridge import fit_ridge
from eegzarr.train.models.scales import channel_scales, robust_scales, set_scales
from eegzarr.train.models.zoo import load_model, make_model
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.evaluate import evaluate, evaluated_streams
from eegzarr.train.scoring.metrics import nrmse, subject_interval
from eegzarr.train.scoring.predict import evaluation_stream, predict
from eegzarr.train.submission import main as submit

CPU = torch.device("cpu")
Change = Callable[[npt.NDArray[np.float32]], None]


def test_two_processes_report_the_scores_of_one(sample_lake: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command = ["eegzarr.train", sample_lake, "--out", run, "--device", "cpu", "--epochs", "1", "--batch-size", "16"]
    few = ["--epoch-windows", "64", "--max-memory", "100%"]
    ran = subprocess.run(
        [*launcher, *map(str, command), *few], capture_output=True, text=True, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    folder = RunFolder(run)
    parts, options = make_parts(folder.options()), folder.options()
    streams = evaluated_streams(parts, options.batch_size)
    scores, rows = evaluate(load_model(run), parts, streams, CPU, torch.float32, lambda: None)
    reported = json.loads(folder.summary.read_text())["scores"]
    written = list(csv.DictReader(folder.predictions.open()))
    for part in ("valid", "test"):
        assert reported[part]["windows"] == scores[part].windows == streams[part].n_windows
        for name in ("nrmse", "ridge", "constant"):
            assert reported[part][name] == pytest.approx(getattr(scores[part], name), rel=1e-4)
    assert [row["window"] for row in written] == [str(row["window"]) for row in rows]
    best = next(csv.DictReader(folder.metrics.open()))  # by a share of the windows in each process
    assert float(best["valid_score"]) == pytest.approx(scores["valid"].value, abs=1e-6)
    folder.summary.unlink()  # as if it had been stopped before its end
    with pytest.raises(UsageError, match=r"was trained by 2 processes.* with torchrun --nproc-per-node 2"):
        resume(run)


def test_challenge_2_is_reported_as_the_evaluator_scores_it(
    sample_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, run, archive = tmp_path / "lake.zarr", tmp_path / "run", tmp_path / "submission.zip"
    eegzarr.build_lake(sample_root, lake, recipe=eegzarr.load_recipe("challenge2"), workers=1)
    small = {"model_arguments": {"F1": 2}, "device": "cpu", "threads": 1}
    options = FitOptions(lake=str(lake), recipe="challenge2", tta=5, epochs=1, batch_size=32, epoch_windows=64, **small)
    summary = fit(options, run, max_memory=1.0)
    assert submit([str(run), "-o", str(archive)]) == 0
    told = capsys.readouterr().out
    (tmp_path / "loaded").mkdir()
    model = load_submission(archive, tmp_path / "loaded", 100.0, CPU).get_model_challenge_2()
    target, prediction = published_evaluation_of_challenge_2(
        sample_root, json.loads((run / "subjects.json").read_text())["test"], model
    )
    score = root_mean_squared_error(target, prediction) / target.std()
    assert summary.scores["test"].windows == len(target)
    assert summary.score == pytest.approx(score, abs=1e-4)
    printed = float(told.split("challenge2: NRMSE ")[1].split()[0])
    assert printed == pytest.approx(summary.score, abs=6e-5)


def published_evaluation_of_challenge_2(
    root: Path, subjects: list[str], model: torch.nn.Module
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Targets and predictions by the rules of the start kit's local_scoring.py, from the recordings themselves.

    Windows of 4 s every 2 s of each recording of the contrast change detection task, those at the end that
    aren't whole left out; of each 2 s, from a sample that random.Random(42) draws, anew for each recording; in
    volts.
    """
    people = pd.read_csv(root / "participants.tsv", sep="\t").set_index("participant_id")
    targets, predictions = [], []
    for subject in subjects:
        externalizing = float(people.loc[f"sub-{subject}", "externalizing"])
        for file in sorted(root.rglob(f"sub-{subject}_task-contrastChangeDetection*_eeg.bdf")):
            signal = mne.io.read_raw_bdf(file, preload=True, verbose="error").get_data()
            generator = random.Random(42)
            starts = range(0, signal.shape[1] - 400 + 1, 200)
            firsts = [start + generator.randint(0, 200) for start in starts]
            predictions += predicted(model, signal, firsts)
            targets += [externalizing] * len(firsts)
    return np.array(targets), np.array(predictions)


def predicted(model: torch.nn.Module, signal: npt.NDArray[np.float64], firsts: list[int]) -> list[float]:
    """Return what a network says of the 2 s at 100 Hz from each of these samples."""
    seen = np.stack([signal[:, first : first + 200] for first in firsts])
    with torch.inference_mode():
        told: list[float] = model(torch.as_tensor(seen, dtype=torch.float32))[:, 0].tolist()
    return told


@pytest.mark.parametrize("belongs_to_person", [False, True])
@pytest.mark.parametrize("subjects", [10, 15, 30, 100])
def test_an_interval_of_95_percent_holds_the_truth_that_often(subjects: int, belongs_to_person: bool) -> None:
    generator = np.random.default_rng(subjects)
    draws = 300 if subjects < 100 else 150
    # y has variance 1 + 1; an error of variance 0.5 + 0.5 that is shared in a subject by half.
    truth = np.sqrt(1.0 / (1.0 if belongs_to_person else 2.0))
    held = 0
    for _ in range(draws):
        name = np.repeat(np.arange(subjects), 20)
        own = 0.0 if belongs_to_person else generator.normal(size=name.size)
        target = generator.normal(size=subjects)[name] + own
        error = generator.normal(0, np.sqrt(0.5), subjects)[name] + generator.normal(0, np.sqrt(0.5), name.size)
        interval = subject_interval(target, target + error, name)
        assert interval is not None
        held += interval[0] <= truth <= interval[1]
    assert 0.915 < held / draws < 0.99


@given(st.integers(1, 9), st.booleans())
@settings(max_examples=10)
def test_below_ten_subjects_there_is_no_interval(subjects: int, is_difference: bool) -> None:
    generator = np.random.default_rng(subjects)
    name = np.repeat(np.arange(subjects), 30)
    target, guess = generator.normal(size=(2, name.size))
    assert subject_interval(target, guess, name, other=target if is_difference else None) is None


def small_lake(folder: Path, change: Change = lambda signals: None) -> Path:
    """24 subjects of 14 windows, 6 channels; the amplitude of an alpha rhythm tells a window's target."""
    generator = np.random.default_rng(0)
    subject = np.repeat(np.arange(24), 14)
    target = generator.normal(size=len(subject))
    time = np.arange(100) / 100
    phase = generator.uniform(0, 2 * np.pi, (len(subject), 6, 1))
    alpha = np.sin(2 * np.pi * 10 * time + phase) * np.exp(0.5 * target)[:, None, None]
    signals = (generator.normal(0, 20, (len(subject), 6, 100)) + 8 * alpha).astype(np.float32)
    change(signals)
    labels = pd.DataFrame(
        {
            "subject": [f"S{number:02d}" for number in subject],
            "recording": subject,
            "target": target,
            "task": "rest",
        }
    )

    def read(first: int, out: npt.NDArray[np.float32]) -> None:
        out[:] = signals[first : first + len(out)]

    windows = GivenWindows(
        source="a test",
        channels=("Fz", "Cz", "Pz", "O1", "O2", "Oz"),
        sfreq=100.0,
        start=0.0,
        n_times=100,
        labels=labels,
        fingerprint=str(float(np.abs(signals).sum())),
        read=read,
    )
    write_windows(folder, "alpha", "all", windows)
    return folder


def artefacts(signals: npt.NDArray[np.float32]) -> None:
    """Two windows of 20 mV."""
    signals[[30, 50]] += 20_000 * np.sign(np.sin(np.arange(100) / 3)).astype(np.float32)


def dead_channels(signals: npt.NDArray[np.float32]) -> None:
    """A third of the recordings has a channel that is flat."""
    signals.reshape(24, 14, 6, 100)[::3, :, 2] = 0


def offsets(signals: npt.NDArray[np.float32]) -> None:
    """A quarter of the recordings has an offset of 1 mV in two channels."""
    signals.reshape(24, 14, 6, 100)[::4, :, 3:5] += 1000


def ridge_score(lake: Path, scored: Path) -> tuple[dict[str, npt.NDArray[np.float64]], float]:
    """Scales of a lake's training part, and the score of its ridge on the test part of a clean lake."""
    options = FitOptions(lake=str(lake), recipe="alpha", fractions=(0.5, 0.25, 0.25))
    train, test = make_parts(options).train, make_parts(replace(options, lake=str(scored))).test
    assert test is not None
    spec = {"network": "EEGNet", "arguments": {}, "n_chans": 6, "n_times": 100, "sfreq": 100.0, "residual": False}
    model = make_model(spec | {"views": 1, "unit": "uV", "clamp": 20.0, "feature_clamp": 5.0})
    scales = channel_scales(train)
    set_scales(model, scales, train["target"].to_numpy().astype(np.float32))
    predicted = predict(Linear(fit_ridge(train, model), model), evaluation_stream(test, 64), CPU)
    return scales, nrmse(predicted.target, predicted.prediction)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_lake(tmp_path_factory.mktemp("clean") / "lake.zarr")


@pytest.mark.parametrize("change", [artefacts, dead_channels, offsets])
def test_artefacts_move_neither_scales_nor_the_ridge(change: Change, clean: Path, tmp_path: Path) -> None:
    scales, score = ridge_score(clean, clean)
    changed, score_now = ridge_score(small_lake(tmp_path / "lake.zarr", change), clean)
    np.testing.assert_allclose(changed["std"], scales["std"], rtol=0.05)
    np.testing.assert_allclose(changed["mean"], scales["mean"], atol=1.0)
    assert 0.3 < score < 0.7  # pooled moments gave 0.92 with the two artefacts
    assert score_now == pytest.approx(score, abs=0.08)


def test_a_flat_channel_has_a_scale_that_makes_nothing_of_its_rounding() -> None:
    deviations = np.array([[10.0, 0.0, 1e-9], [12.0, 0.0, 2e-9], [11.0, 0.0, np.nan]])
    scales = robust_scales(np.zeros((3, 3)), deviations)
    assert scales["std"].tolist() == pytest.approx([11.0, 11.0, 11.0])
    in_volts = robust_scales(np.zeros((3, 1)), deviations[:, :1] * 1e-6)
    assert in_volts["std"].tolist() == pytest.approx([11e-6])


def test_what_no_eeg_is_reaches_no_network(tmp_path: Path) -> None:
    spec = {"network": "EEGNet", "arguments": {}, "n_chans": 6, "n_times": 100, "sfreq": 100.0, "residual": True}
    old = make_model(spec | {"views": 1, "unit": "uV"})
    new = make_model(spec | {"views": 1, "unit": "uV", "clamp": 20.0, "feature_clamp": 5.0})
    new.load_state_dict(old.state_dict())  # a model saved without limits is the same model
    x = torch.randn(4, 6, 100)
    torch.testing.assert_close(old(x), new(x))
    x[0] *= 1e6
    assert new.scaled(x).abs().max() == 20
    assert old.scaled(x).abs().max() > 1e5
