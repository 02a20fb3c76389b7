"""Targets, signals and versions that a training meets in the wild: right, or refused with what to do."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import scipy.linalg
import scipy.special
import torch
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, root_mean_squared_error
from test_train_options import SPEC
from test_train_tasks import KNOWN, QUICK, imagery_lake

import eegzarr
from eegzarr.errors import EegzarrError, UsageError
from eegzarr.events import EpochEnded
from eegzarr.exchange.write import GivenWindows, write_windows
from eegzarr.train import predict
from eegzarr.train.ensemble import main as ensemble
from eegzarr.train.loop.fit import fit, resume
from eegzarr.train.loop.parts import make_parts, spread_over_subjects
from eegzarr.train.models.scales import channel_scales, set_scales
from eegzarr.train.models.tangent import fit_tangent, guessed, tangent_vectors
from eegzarr.train.models.zoo import load_model, make_model
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.classes import ClassScore
from eegzarr.train.scoring.crossval import cross_validate
from eegzarr.train.scoring.metrics import nrmse
from eegzarr.train.scoring.predict import Predictions, evaluation_stream
from eegzarr.train.scoring.stacking import Stack, out_of_fold
from eegzarr.train.submission import main as submit
from eegzarr.train.task import Task

SUBJECTS, WINDOWS = 12, 14
COUNT = SUBJECTS * WINDOWS
OWN = "own_network_of_judged"


def labelled_lake(folder: Path, labels: dict[str, npt.NDArray], target: str = "target") -> Path:
    """A lake of 12 subjects of 14 windows of noise with the given labels."""
    signals = np.random.default_rng(0).normal(0, 10, (COUNT, 4, 50)).astype(np.float32)
    subject = np.repeat(np.arange(SUBJECTS), WINDOWS)
    windows = GivenWindows(
        source="a test",
        channels=("Fz", "Cz", "Pz", "Oz"),
        sfreq=50.0,
        start=0.0,
        n_times=50,
        labels=pd.DataFrame({"subject": [f"S{number:02d}" for number in subject], "recording": subject, **labels}),
        fingerprint=folder.name,
        read=lambda first, out: out.__setitem__(slice(None), signals[first : first + len(out)]),
    )
    write_windows(folder, "given", "all", windows, target=target)
    return folder


def side_by(seed: int) -> npt.NDArray:
    return np.array(["left", "right"])[np.random.default_rng(seed).integers(0, 2, COUNT)]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its target is a class; the subjects S00, S01 … have a class of their own in ``whose``."""
    number = np.random.default_rng(0).normal(size=COUNT)
    number[::4] = np.nan
    whose = np.repeat([f"of {subject}" for subject in range(SUBJECTS)], WINDOWS)
    labels = {"side": side_by(1), "number": number, "tiny": np.random.default_rng(2).normal(size=COUNT) * 1e-30}
    folder = tmp_path_factory.mktemp("labelled") / "lake.zarr"
    return labelled_lake(folder, {**labels, "whose": whose}, target="side")


@pytest.fixture(scope="module")
def options(lake: Path, tmp_path_factory: pytest.TempPathFactory) -> FitOptions:
    folder = tmp_path_factory.mktemp("networks")
    (folder / f"{OWN}.py").write_text(
        "from torch import nn\n"
        "class Flat(nn.Sequential):\n"
        "    def __init__(self, n_chans, n_times, n_outputs):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(n_chans * n_times, n_outputs))\n"
    )
    sys.path.append(str(folder))
    return FitOptions(
        lake=str(lake),
        recipe="given",
        fractions=(0.5, 0.25, 0.25),
        model=f"{OWN}:Flat",
        epochs=1,
        batch_size=16,
        device="cpu",
        threads=1,
    )


def test_a_recipe_whose_target_is_a_class_is_trained_as_it_is(options: FitOptions, tmp_path: Path) -> None:
    summary = fit(options, tmp_path / "run", max_memory=1.0)
    score = summary.scores["test"]
    assert isinstance(score, ClassScore)
    assert score.classes == ("left", "right")
    assert load_model(tmp_path / "run").targets == ["side"]


def test_windows_without_a_target_are_counted(options: FitOptions, tmp_path: Path) -> None:
    summary = fit(replace(options, target=("number",)), tmp_path / "run", max_memory=1.0)
    train = json.loads((tmp_path / "run" / "subjects.json").read_text())["train"]
    windows = eegzarr.open_windows(options.lake, "given")
    missing = int(np.isnan(windows["number"][np.isin(windows["subject"], train)]).sum())
    assert summary.train_windows == len(train) * WINDOWS - missing
    assert f"{missing} windows of the training part left out: no target" in summary.notes


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"target": ("whose",)}, r"no class of the validation part \(of \d+, .*\) is in the training part"),
        ({"target": ("sde",)}, r"^windows have no label 'sde' to predict"),
    ],
)
def test_what_cannot_be_learned_is_refused(changes: dict, told: str, options: FitOptions, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        fit(replace(options, **changes), tmp_path / "run", max_memory=1.0)
    assert not (tmp_path / "run").exists()


def test_a_target_named_twice_is_refused(options: FitOptions) -> None:
    with pytest.raises(UsageError, match="--target names number twice"):
        replace(options, target=("number", "tiny", "number"))


def test_a_class_that_the_training_part_lacks_is_named(options: FitOptions, tmp_path: Path) -> None:
    told = fit(options, tmp_path / "first", max_memory=1.0)
    train = json.loads((Path(told.run) / "subjects.json").read_text())["train"]
    is_train = np.isin(np.repeat([f"S{number:02d}" for number in range(SUBJECTS)], WINDOWS), train)
    side = side_by(1)
    side[~is_train & (np.arange(COUNT) % 3 == 0)] = "both"
    other = labelled_lake(tmp_path / "lake.zarr", {"side": side}, target="side")
    summary = fit(replace(options, lake=str(other)), tmp_path / "run", max_memory=1.0)
    score = summary.scores["test"]
    assert isinstance(score, ClassScore)
    assert score.classes[0] == "both"
    assert sum(score.confusion[0]) > 0
    assert [row[0] for row in score.confusion] == [0, 0, 0]  # never predicted
    assert any("of both, which the test part has: it is never predicted" in note for note in summary.notes)


@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_targets_of_any_unit_have_a_scale(unit: float) -> None:
    targets = (np.random.default_rng(0).normal(3, 2, 1000) * unit).astype(np.float32)
    model = make_model(SPEC | {"network": "EEGNet"})
    set_scales(model, None, targets)
    assert float(model.target_std) == pytest.approx(2 * unit, rel=0.1)
    assert float(model.target_mean) == pytest.approx(3 * unit, rel=0.1)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_a_place_where_no_folder_can_be_made_is_refused(options: FitOptions) -> None:
    with pytest.raises(EegzarrError, match="--out /proc/run can't be written"):
        fit(options, "/proc/run", max_memory=1.0)


def test_the_reported_score_is_that_of_the_saved_model_in_float32(options: FitOptions, tmp_path: Path) -> None:
    summary = fit(replace(options, precision="bf16", target=("number",)), tmp_path / "run", max_memory=1.0)
    rows = pd.read_csv(tmp_path / "run" / "predictions.csv")
    windows = eegzarr.open_windows(options.lake, "given").isel(window=rows["window"].to_numpy())
    found = predict(tmp_path / "run", windows)
    np.testing.assert_allclose(found["prediction"], rows["prediction"], rtol=1e-5, atol=1e-6)
    assert summary.scores["test"].windows == int((rows["part"] == "test").sum())


def test_weights_of_another_braindecode_are_named(options: FitOptions, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(options, run, max_memory=1.0)
    saved = torch.load(run / "best.pt", weights_only=True)
    assert saved.pop("outline")  # as those of early runs
    assert saved["spec"]["braindecode"]
    saved["spec"]["braindecode"] = "0.8"
    weights = saved["model"].pop("network.1.weight")
    torch.save(saved, run / "best.pt")
    with pytest.raises(UsageError, match=r"of braindecode 0\.8, .*pip install braindecode==0\.8"):
        load_model(run)
    saved["model"]["network.1.weight"] = weights
    torch.save(saved, run / "best.pt")
    load_model(run)  # the same weights: any version may load them


def test_a_full_disk_keeps_the_last_checkpoint(options: FitOptions, tmp_path: Path) -> None:
    """The limit on the size of a file stands for the full disk: writing fails in the middle of a checkpoint."""
    resource = pytest.importorskip("resource")
    run = tmp_path / "run"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(EegzarrError, match="can't be written") as stopped:
            fit(options, run, max_memory=1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert stopped.value.exit_code == 75
    assert not [name for name in os.listdir(run) if name.endswith(".partial")]
    assert resume(run, max_memory=1.0).epochs == 1


def test_a_submission_says_which_braindecode_it_needs(
    sample_lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = FitOptions(lake=str(sample_lake), epochs=1, batch_size=32, epoch_windows=32, device="cpu", threads=1)
    fit(quick, tmp_path / "run", max_memory=1.0)
    assert submit([str(tmp_path / "run"), "-o", str(tmp_path / "s.zip"), "--no-score"]) == 0
    assert "EEGNet of" in (told := capsys.readouterr().out)
    assert "trained with braindecode" in told
    assert "the same in 1.2" in told


@pytest.mark.parametrize("normalize", ["channel", "window", "robust"])
def test_a_channel_that_a_recording_lacks_counts_as_at_its_mean(normalize: str) -> None:
    model = make_model(SPEC | {"network": "EEGNet", "normalize": normalize, "clamp": 20.0, "residual": True}).eval()
    model.channel_mean.fill_(5.0 if normalize == "channel" else 0.0)
    x = torch.randn(4, 6, 100) * 20
    lacking, at_mean = x.clone(), x.clone()
    lacking[:, 2], at_mean[:, 2] = torch.nan, 5.0 if normalize == "channel" else 0.0
    with torch.inference_mode():
        torch.testing.assert_close(model(lacking), model(at_mean))


def test_a_person_s_target_has_a_baseline_of_age_and_sex(options: FitOptions, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    age, sex = generator.uniform(5, 20, SUBJECTS), np.array(["M", "F"])[np.arange(SUBJECTS) % 2]
    age[3], sex[5] = np.nan, ""
    score = 0.3 * np.nan_to_num(age, nan=12) + (sex == "M") + generator.normal(0, 0.2, SUBJECTS)
    people = {"score": score, "age": age, "sex": sex}
    each = {name: np.repeat(values, WINDOWS) for name, values in people.items()}
    lake = labelled_lake(tmp_path / "lake.zarr", each, target="score")
    run = fit(replace(options, lake=str(lake)), tmp_path / "run", max_memory=1.0)
    parts = json.loads((tmp_path / "run" / "subjects.json").read_text())
    of = {part: [int(name[1:]) for name in names] for part, names in parts.items()}
    facts = np.column_stack([np.where(np.isnan(age), np.nanmedian(age[of["train"]]), age), *(sex == s for s in "FM")])
    facts = np.column_stack([facts, sex == ""])
    spread = facts[of["train"], 0]
    facts[:, 0] = (facts[:, 0] - spread.mean()) / spread.std()
    ridge = Ridge().fit(facts[of["train"]], score[of["train"]])
    for part in ("valid", "test"):
        error = root_mean_squared_error(score[of[part]], ridge.predict(facts[of[part]])) / score[of[part]].std()
        assert run.scores[part].age_and_sex == pytest.approx(error, rel=1e-4)
    assert "without EEG" in (tmp_path / "run" / "model-card.md").read_text()
    older = np.array(["no"] * SUBJECTS, object)
    for members in of.values():
        older[members[: len(members) // 2]] = "yes"
    other = labelled_lake(tmp_path / "other.zarr", {**each, "older": np.repeat(older, WINDOWS)}, target="older")
    classes = fit(replace(options, lake=str(other)), tmp_path / "classes", max_memory=1.0)
    assert classes.scores["test"].age_and_sex is not None
    assert fit(replace(options, epochs=1), tmp_path / "of-windows", max_memory=1.0).scores["test"].age_and_sex is None


def test_vectors_of_the_tangent_space_keep_distances() -> None:
    generator = np.random.default_rng(0)
    signals = generator.normal(size=(6, 5, 40))
    covariance = signals @ signals.swapaxes(1, 2) / 40
    mean = covariance.mean(axis=0)
    for one, vector in zip(covariance, tangent_vectors(covariance, mean), strict=True):
        # The Riemannian distance to the mean, from the generalized eigenvalues.
        distance = np.sqrt((np.log(scipy.linalg.eigvalsh(one, mean)) ** 2).sum())
        assert np.linalg.norm(vector) == pytest.approx(distance)


def test_covariances_tell_where_a_rhythm_is(tmp_path: Path) -> None:
    own = FitOptions(lake=str(imagery_lake(tmp_path / "lake.zarr")), recipe="imagery", target=("side",), **QUICK)
    parts, model = make_parts(own), make_model(SPEC | {"network": "EEGNet", "classes": ["left", "none", "right"]})
    set_scales(model, channel_scales(parts.train), parts.given.stream(parts.train, 1, rank=0, ranks=1).targets)
    guess = fit_tangent(parts, model)
    assert guess is not None
    stream = evaluation_stream(parts.valid, 64, given=parts.given)
    assert balanced_accuracy_score(stream.targets, guessed(guess, stream)) == pytest.approx(KNOWN, abs=0.08)


def test_an_epoch_is_scored_on_a_share_of_each_subject(options: FitOptions, tmp_path: Path) -> None:
    epochs: list[EpochEnded] = []
    capped = replace(options, target=("number",), valid_windows=12)
    listen = [lambda event: epochs.append(event) if isinstance(event, EpochEnded) else None]
    summary = fit(capped, tmp_path / "run", listen, max_memory=1.0)
    parts = make_parts(capped)
    chosen = spread_over_subjects(parts.valid.isel(window=np.isfinite(parts.valid["number"].to_numpy())), 12)
    assert chosen.sizes["window"] == 12
    assert set(np.unique(chosen["subject"].to_numpy().astype(str), return_counts=True)[1].tolist()) == {4}
    rows = pd.read_csv(tmp_path / "run" / "predictions.csv")
    scored = rows[rows["part"].eq("valid") & rows["window"].isin(chosen["window"].to_numpy().tolist())]
    assert epochs[0].valid_score == pytest.approx(nrmse(scored["target"], scored["prediction"]), rel=1e-5)
    assert summary.scores["valid"].windows == int((rows["part"] == "valid").sum()) > 12
    assert spread_over_subjects(parts.valid, 1).sizes["window"] == 3  # one of each subject at least
    assert spread_over_subjects(parts.valid, 0).sizes == parts.valid.sizes


def test_a_soft_argmax_is_a_mean_of_values_between_the_training_targets(options: FitOptions, tmp_path: Path) -> None:
    own = replace(options, target=("number",), soft_argmax=16)
    fit(own, tmp_path / "run", max_memory=1.0)
    model = load_model(tmp_path / "run")
    targets = make_parts(own).train["number"].to_numpy()
    points = (model.points * model.target_std + model.target_mean).numpy()
    np.testing.assert_allclose(points, np.linspace(np.nanmin(targets), np.nanmax(targets), 16), rtol=1e-4, atol=1e-5)
    x = torch.randn(3, 4, 50) * 10
    with torch.inference_mode():
        logits = model.network(model.scaled(x)).double().numpy()
        np.testing.assert_allclose(model(x)[:, 0], scipy.special.softmax(logits, axis=1) @ points, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="--soft-argmax predicts one number"):
        fit(replace(own, target=("side",)), tmp_path / "classes", max_memory=1.0)
    with pytest.raises(UsageError, match="which --residual doesn't allow"):
        replace(own, residual=True)


@pytest.mark.parametrize("shape", [(60,), (60, 2)])
def test_a_stack_s_weights_are_those_of_the_least_squares(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    target = generator.normal(5, 2, shape)
    guesses = [target + generator.normal(0, noise, shape) for noise in (1, 2, 30)]
    names = tuple("ab"[: target.reshape(60, -1).shape[1]])
    members = [predicted(target, guess) for guess in guesses]
    stack = Stack.fitted(members, Task(names=names))
    centred = [((one - target.mean(0)) / target.std(0)).ravel() for one in [target, *guesses]]
    linear = LinearRegression(positive=True, fit_intercept=False).fit(np.column_stack(centred[1:]), centred[0])
    np.testing.assert_allclose(stack.weights, linear.coef_, rtol=1e-3, atol=1e-6)
    whole = linear.predict(np.column_stack(centred[1:])).reshape(shape) * target.std(0) + target.mean(0)
    np.testing.assert_allclose(stack.together(members).prediction, whole, rtol=1e-4)
    assert nrmse(target.ravel(), stack.together(members).prediction.ravel()) < 0.5


def predicted(target: npt.NDArray, guess: npt.NDArray) -> Predictions:
    names = np.array(["S"] * len(target))
    return Predictions(
        release=names, window=np.arange(len(target)), subject=names, target=target, prediction=guess.astype(np.float32)
    )


def test_cross_validations_are_stacked_by_what_they_left_out(
    options: FitOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv = replace(options, folds=2)
    for name, own in {"a": cv, "b": replace(cv, learning_rate=1e-4)}.items():
        cross_validate(own, tmp_path / name, lambda chosen, run: fit(chosen, run, max_memory=1.0))
    assert ensemble([str(tmp_path / "a"), str(tmp_path / "b"), "--stack", "-o", str(tmp_path / "s.csv")]) == 0
    told = capsys.readouterr().out
    assert "stack of 2: balanced accuracy" in told
    weights = [float(line.split("weight ")[1]) for line in told.splitlines() if "weight " in line]
    assert sum(weights) == pytest.approx(1, abs=1e-3)
    left_out = out_of_fold([tmp_path / "a", tmp_path / "b"])
    test = set(json.loads((tmp_path / "a" / "fold-0" / "subjects.json").read_text())["test"])
    assert not test & set(left_out[0].subject.tolist())
    assert set(pd.read_csv(tmp_path / "s.csv")["subject"]) == test
    assert ensemble([str(tmp_path / "a" / "fold-0"), "--stack"]) == 2
    assert "holds no cross-validation" in capsys.readouterr().err
