"""A study varies what isn't given, gives up trials that can't run, and compares only what can be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import run_command
from test_train_refused import SUBJECTS, WINDOWS, noise_lake

from eegzarr.errors import UsageError
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.options import FitOptions
from eegzarr.train.study import search

QUICK = ("--recipe", "noise", "--epochs", "1", "--device", "cpu", "--threads", "1", "--max-memory", "100%")
SPLIT = ("--fractions", "0.6", "0.2", "0.2", "--model-arg", "F1=2")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> FitOptions:
    targets = np.random.default_rng(0).normal(size=SUBJECTS * WINDOWS)
    lake = noise_lake(tmp_path_factory.mktemp("noise") / "lake.zarr", targets)
    few = {"model_arguments": {"F1": 2}, "epochs": 1, "device": "cpu", "threads": 1}
    return FitOptions(lake=str(lake), recipe="noise", fractions=(0.6, 0.2, 0.2), **few)


def test_what_is_given_is_kept_and_a_batch_that_does_not_fit_is_given_up(options: FitOptions, tmp_path: Path) -> None:
    study = tmp_path / "study"
    # 42 windows to train on: of the batches 32, 64 and 128 only one fits.
    command = [options.lake, *QUICK, *SPLIT, "--learning-rate", "0.003", "--loss", "mae"]
    ran = run_command("eegzarr.train.search", *command, "--out", study, "--trials", "6")
    assert ran.returncode == 0, ran.stderr
    runs = [RunFolder(path) for path in sorted(study.glob("trial-*"))]
    chosen = [run.options() for run in runs if run.is_begun]
    assert chosen
    assert {(one.learning_rate, one.loss, one.batch_size) for one in chosen} == {(0.003, "mae", 32)}
    assert len({one.weight_decay for one in chosen}) == len(chosen)
    assert "given up" in ran.stdout
    assert "larger than the selection of 42 windows" in ran.stdout
    assert "learning_rate" not in json.loads((study / "best.json").read_text())["values"]


def test_a_study_is_of_one_lake_and_one_set_of_options(options: FitOptions, tmp_path: Path) -> None:
    study, kept = tmp_path / "study", ("batch_size",)
    small = replace(options, batch_size=16)
    first = search(small, study, 1, max_memory=1.0, kept=kept)
    other = noise_lake(tmp_path / "other.zarr", np.random.default_rng(1).normal(size=SUBJECTS * WINDOWS))
    with pytest.raises(UsageError, match=r"other windows than those of .*other.zarr"):
        search(replace(small, lake=str(other)), study, 2, max_memory=1.0, kept=kept)
    with pytest.raises(UsageError, match=r"a study with --epochs 1, not 2"):
        search(replace(small, epochs=2), study, 2, max_memory=1.0, kept=kept)
    with pytest.raises(UsageError, match=r"a study with --batch-size 16, not 8"):
        search(replace(small, batch_size=8), study, 2, max_memory=1.0, kept=kept)
    with pytest.raises(UsageError, match=r"a study with --batch-size given"):
        search(small, study, 2, max_memory=1.0)
    assert search(small, study, 1, max_memory=1.0, kept=kept) == first


def test_a_study_with_nothing_to_search_is_refused(options: FitOptions, tmp_path: Path) -> None:
    everything = ("learning_rate", "weight_decay", "batch_size", "loss", "augment")
    with pytest.raises(UsageError, match="are all given"):
        search(options, tmp_path / "study", 1, kept=everything)
    assert not (tmp_path / "study").exists()
