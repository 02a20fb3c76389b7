"""What can't be trained, resumed or loaded is refused in a line that says what to do."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch

import eegzarr
from eegzarr.errors import BatchTooLarge, FitDiverged, FitInterrupted, UsageError
from eegzarr.events import EpochEnded, Event
from eegzarr.exchange.write import GivenWindows, write_windows
from eegzarr.train.__main__ import main as train
from eegzarr.train.loop.fit import fit, resume
from eegzarr.train.loop.learner import Learner
from eegzarr.train.loop.optimize import fitting_batch
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.models.zoo import load_model
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.ensemble import ensemble_predictions, held_out_windows

SUBJECTS, WINDOWS = 10, 7


CHANNELS = ("Fz", "Cz", "Pz", "Oz")


def noise_lake(
    folder: Path,
    targets: npt.NDArray[np.float64],
    label: str = "score",
    channels: tuple[str, ...] = CHANNELS,
    sfreq: float = 100.0,
) -> Path:
    """A lake of noise, 10 subjects of 7 windows, with given targets, (window,); a channel's noise goes by its name."""
    subject = np.repeat(np.arange(SUBJECTS), WINDOWS)
    labels = pd.DataFrame({"subject": [f"S{n}" for n in subject], "recording": subject, label: targets})

    def read(first: int, out: npt.NDArray[np.float32]) -> None:
        for number, name in enumerate(channels):
            seed = [first, CHANNELS.index(name) if name in CHANNELS else len(CHANNELS)]
            out[:, number] = np.random.default_rng(seed).normal(0, 10, (len(out), 100))

    windows = GivenWindows(
        source="a test",
        channels=channels,
        sfreq=sfreq,
        start=0.0,
        n_times=100,
        labels=labels,
        fingerprint=str(targets.tobytes()),
        read=read,
    )
    write_windows(folder, "noise", "all", windows, target=label)
    return folder


def noise_options(folder: Path) -> FitOptions:
    """Options of a short run on a lake of noise, which is made in the folder."""
    targets = np.random.default_rng(0).normal(size=SUBJECTS * WINDOWS)
    return FitOptions(
        lake=str(noise_lake(folder / "lake.zarr", targets)),
        recipe="noise",
        fractions=(0.6, 0.2, 0.2),
        model_arguments={"F1": 2},
        epochs=3,
        batch_size=8,
        device="cpu",
        threads=1,
    )


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> FitOptions:
    return noise_options(tmp_path_factory.mktemp("noise"))


def stop_after_an_epoch(event: Event) -> None:
    if isinstance(event, EpochEnded):
        raise FitInterrupted("told to")


def stopped_after_an_epoch(options: FitOptions, run: Path) -> Path:
    with pytest.raises(FitInterrupted):
        fit(options, run, [stop_after_an_epoch], max_memory=1.0)
    return run


@pytest.fixture(scope="module")
def stopped(options: FitOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stopped_after_an_epoch(options, tmp_path_factory.mktemp("stopped") / "run")


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("batch_size", 16, r"--batch-size \(was 8, is 16\)"),
        ("releases", ["all"], r"--releases \(was none, is all\)"),
        ("learning_rate", 0.01, r"--learning-rate \(was 0.002, is 0.01\)"),
        ("augment", ["noise"], r"--augment \(was none, is noise\)"),
    ],
)
def test_an_edited_configuration_is_refused_by_the_name_of_the_option(
    name: str, value: Any, told: str, stopped: Path, tmp_path: Path
) -> None:
    run = copied(stopped, tmp_path / "run")
    content = json.loads((run / "config.json").read_text())
    content["options"][name] = value
    (run / "config.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=told):
        resume(run, max_memory=1.0)


def test_a_run_whose_lake_moved_goes_on(stopped: Path, options: FitOptions, tmp_path: Path) -> None:
    run = copied(stopped, tmp_path / "run")
    lake = shutil.copytree(options.lake, tmp_path / "moved.zarr")
    content = json.loads((run / "config.json").read_text())
    content["options"]["lake"] = str(lake)
    (run / "config.json").write_text(json.dumps(content))
    assert resume(run, max_memory=1.0).epochs == options.epochs


@pytest.mark.parametrize("kept", [0, 7, 1000, -30])
@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_half_a_checkpoint_is_one_line(name: str, kept: int, stopped: Path, tmp_path: Path) -> None:
    run = copied(stopped, tmp_path / "run")
    whole = (run / name).read_bytes()
    (run / name).write_bytes(whole[:kept])
    with pytest.raises(UsageError, match=f"{name} is damaged") as refused:
        resume(run, max_memory=1.0) if name == "last.pt" else load_model(run)
    told = str(refused.value)
    assert "\n" not in told
    assert "weights_only" not in told
    assert "--resume" in told if name == "last.pt" else "--config" in told


def test_a_flipped_bit_and_a_foreign_file_are_noticed(stopped: Path, tmp_path: Path) -> None:
    run = copied(stopped, tmp_path / "run")
    content = bytearray((run / "best.pt").read_bytes())
    weights = torch.load(run / "best.pt", weights_only=True)["model"]["channel_std"].numpy().tobytes()
    content[content.index(weights)] ^= 1
    (run / "best.pt").write_bytes(content)
    with pytest.raises(UsageError, match=r"best.pt is damaged"):
        load_model(run)
    torch.save({"model": Path("x"), "spec": {}}, run / "best.pt")  # PyTorch would advise to switch its check off
    with pytest.raises(UsageError, match=r"best.pt is damaged \(it isn't a checkpoint\)"):
        load_model(run)
    torch.save({"weights": 1}, run / "best.pt")
    with pytest.raises(UsageError, match=r"best.pt is damaged"):
        load_model(run)


def test_a_damaged_checkpoint_can_be_removed_to_train_again(stopped: Path, options: FitOptions, tmp_path: Path) -> None:
    run = copied(stopped, tmp_path / "run")
    (run / "last.pt").write_bytes(b"")
    with pytest.raises(UsageError, match="remove it"):
        resume(run, max_memory=1.0)
    (run / "last.pt").unlink()
    assert resume(run, max_memory=1.0).epochs == options.epochs


@pytest.mark.parametrize("learning_rate", [1e12, 1e30])
def test_a_run_that_diverges_says_so_now_and_later(learning_rate: float, options: FitOptions, tmp_path: Path) -> None:
    run = tmp_path / "run"
    wild = replace(options, learning_rate=learning_rate, clip=0.0, optimizer="sgd", warmup=0.0)
    with pytest.raises(FitDiverged, match=r"diverged in epoch 0: .* lower --learning-rate"):
        fit(wild, run, max_memory=1.0)
    with pytest.raises(FitDiverged, match="diverged in epoch 0"):
        resume(run, max_memory=1.0)


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("test", np.nan, "the 2 subjects of the test part can't be scored"),
        ("valid", np.nan, "the 2 subjects of the validation part can't be scored"),
        ("test", 0.5, "the 2 subjects of the test part all have the target 0.5"),
        ("valid", 0.5, "the 2 subjects of the validation part all have the target 0.5"),
    ],
)
def test_parts_that_can_t_be_scored_are_found_before_the_first_step(
    part: str, value: float, told: str, stopped: Path, options: FitOptions, tmp_path: Path
) -> None:
    members = json.loads((stopped / "subjects.json").read_text())[part]
    targets = np.random.default_rng(0).normal(size=(SUBJECTS, WINDOWS))
    targets[[int(name[1:]) for name in members]] = value
    lake = noise_lake(tmp_path / "lake.zarr", targets.ravel())
    with pytest.raises(UsageError, match=f"{told}.*--split-seed"):
        fit(replace(options, lake=str(lake)), tmp_path / "run", max_memory=1.0)
    assert not (tmp_path / "run").exists()


def test_a_batch_larger_than_the_training_part_is_refused(options: FitOptions, tmp_path: Path) -> None:
    with pytest.raises(BatchTooLarge, match="larger than the selection of 42 windows"):
        fit(replace(options, batch_size=64), tmp_path / "run", max_memory=1.0)
    with pytest.raises(BatchTooLarge, match=r"--epoch-windows 4 is less"):
        replace(options, epoch_windows=4)


def test_a_batch_that_memory_does_not_hold_is_refused() -> None:
    cpu, told = torch.device("cpu"), "a batch of 8 windows doesn't fit into the memory of cpu"
    with pytest.raises(BatchTooLarge, match=told), fitting_batch(8, cpu):
        torch.empty(2**52)
    with pytest.raises(RuntimeError, match="something else"), fitting_batch(8, cpu):
        raise RuntimeError("something else")


@pytest.mark.parametrize("epoch_windows", [8, 16, 24])
def test_short_epochs_see_every_window_before_any_twice(
    epoch_windows: int, options: FitOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    real = Learner.step

    def step(self: Learner, x: torch.Tensor, y: torch.Tensor, number: int, steps: int) -> torch.Tensor:
        seen.extend(y.tolist())
        return real(self, x, y, number, steps)

    monkeypatch.setattr(Learner, "step", step)
    epochs = -(-2 * 42 // epoch_windows)
    fit(replace(options, epoch_windows=epoch_windows, epochs=epochs, patience=epochs), tmp_path / "r", max_memory=1.0)
    assert len(set(seen[:42])) == 42
    assert set(seen[42:84]) <= set(seen[:42])
    assert len(set(seen[42:84])) == len(seen[42:84])
    assert seen[42:84] != seen[:42]


def test_an_unknown_answer_is_no_target(options: FitOptions, tmp_path: Path) -> None:
    targets = np.random.default_rng(0).integers(0, 2, SUBJECTS * WINDOWS).astype(np.int8)
    targets[::3] = -1
    lake = noise_lake(tmp_path / "lake.zarr", targets, label="correct")
    summary = fit(replace(options, lake=str(lake), epochs=1), tmp_path / "run", max_memory=1.0)
    rows = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert set(rows["target"]) == {0.0, 1.0}
    assert summary.train_windows < 42


def targets_of(options: FitOptions) -> npt.NDArray[np.float64]:
    return eegzarr.open_windows(options.lake, "noise")["target"].to_numpy().astype(np.float64)


@pytest.mark.parametrize("names_saved", [True, False])
def test_a_model_finds_its_channels_by_name(
    names_saved: bool, stopped: Path, options: FitOptions, tmp_path: Path
) -> None:
    run = RunFolder(copied(stopped, tmp_path / "run"))
    if not names_saved:
        saved = torch.load(run.best, weights_only=True)
        del saved["spec"]["channels"], saved["outline"]  # as those of early runs
        torch.save(saved, run.best)
    more = ("Oz", "EXG", "Pz", "Cz", "Fz")
    other = noise_lake(tmp_path / "other.zarr", targets_of(options), channels=more)
    own, turned = (held_out_windows([run], lake) for lake in (None, str(other)))
    cpu = torch.device("cpu")
    first, second = (ensemble_predictions([run], windows, cpu)[0] for windows in (own, turned))
    np.testing.assert_array_equal(first.window, second.window)
    np.testing.assert_allclose(first.prediction, second.prediction, rtol=1e-5)
    assert np.ptp(first.prediction) > 0


def test_a_lake_that_lacks_a_model_s_channels_is_refused_by_their_names(
    stopped: Path, options: FitOptions, tmp_path: Path
) -> None:
    run, cpu = RunFolder(stopped), torch.device("cpu")
    fewer = noise_lake(tmp_path / "fewer.zarr", targets_of(options), channels=("Fz", "Cz", "T7"))
    with pytest.raises(UsageError, match=r"takes 4 channels; .*fewer.zarr doesn't have Pz, Oz, it has Fz, Cz, T7"):
        ensemble_predictions([run], held_out_windows([run], str(fewer)), cpu)
    faster = noise_lake(tmp_path / "faster.zarr", targets_of(options), sfreq=200.0)
    with pytest.raises(UsageError, match=r"at 100 Hz, those of .*faster.zarr have 200 Hz"):
        ensemble_predictions([run], held_out_windows([run], str(faster)), cpu)


def test_resume_refuses_options_by_their_names(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--batch-size", "32", "--releases", "R2", "--model-arg", "F1=3", "--keep-excluded", "--no-residual"]
    assert train(["--resume", str(stopped), *given]) == 2
    told = capsys.readouterr().err
    for name in ("--batch-size", "--releases", "--model-arg", "--keep-excluded", "--residual"):
        assert name in told
    assert "--config" in told
    assert train(["--resume", str(stopped), "--config", str(stopped / "config.json")]) == 2
    assert "leave out --config" in capsys.readouterr().err
