"""A checkpoint that lacks a part, or has another one in its place, isn't resumed from as if it were whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_train_refused import SUBJECTS, WINDOWS, noise_lake, noise_options, stop_after_an_epoch, stopped_after_an_epoch

from eegzarr.errors import FitInterrupted, UsageError
from eegzarr.train.loop.fit import fit, resume
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.models.checkpoint import OUTLINE, outline, read_checkpoint
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.seeds import fit_seeds

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> FitOptions:
    return replace(noise_options(tmp_path_factory.mktemp("noise")), epochs=2, ema=0.9)


@pytest.fixture(scope="module")
def stopped(options: FitOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stopped_after_an_epoch(options, tmp_path_factory.mktemp("stopped") / "run")


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> RunFolder:
    """A copy of the stopped run."""
    return RunFolder(shutil.copytree(stopped, tmp_path / "run"))


def at(content: Any, path: str) -> tuple[Any, Any]:
    """Return what contains a part of a checkpoint, and the part's key there."""
    *outer, last = path.split("/")
    for name in outer:
        content = content[int(name) if isinstance(content, list) or name not in content else name]
    return content, last if last in content else int(last)


def removed(path: str) -> Change:
    def change(saved: dict[str, Any]) -> None:
        holder, key = at(saved, path)
        del holder[key]

    return change


def replaced(path: str, other: Callable[[Any], Any]) -> Change:
    def change(saved: dict[str, Any]) -> None:
        holder, key = at(saved, path)
        holder[key] = other(holder[key])

    return change


def another(value: Any) -> Any:
    """Return a value of the same type that is another one."""
    if isinstance(value, torch.Tensor):
        return value + 1
    if isinstance(value, dict):
        return {**value, "more": 1}
    if isinstance(value, list):
        return [*value, 1]
    return f"{value}s" if isinstance(value, str) else value + 1


NESTED = (
    *("optimizer/state/0", "optimizer/state/1/exp_avg", "optimizer/state/2/step", "optimizer/param_groups/0/betas"),
    *(
        "model/network.final_layer.conv_classifier.weight",
        "average/channel_std",
        "spec/channels/3",
        "history/0/valid_score",
    ),
    *("stream/epoch", "options/ema", "windows/valid", "made_by/precision"),
)


def test_every_part_of_a_checkpoint_is_missed_and_no_part_is_taken_for_another(stopped: Path, tmp_path: Path) -> None:
    saved = torch.load(stopped / "last.pt", weights_only=True)
    assert {path.split("/")[0] for path in saved[OUTLINE] if path} == set(saved) - {OUTLINE}
    assert read_checkpoint(stopped / "last.pt", "", needs_outline=True)
    for path in [*(name for name in saved if name != OUTLINE), *NESTED]:
        changes = [removed(path), replaced(path, another)]
        holder, key = at(saved, path)
        changes += [replaced(path, lambda value: value[None])] if isinstance(holder[key], torch.Tensor) else []
        for number, change in enumerate(changes):
            own = torch.load(stopped / "last.pt", weights_only=True)
            if path == "optimizer/param_groups/0/betas" and number:
                change = replaced(path, lambda betas: (0.5, *betas[1:]))
            change(own)
            torch.save(own, tmp_path / "last.pt")
            with pytest.raises(UsageError, match=r"last\.pt is damaged .*: copy it") as refused:
                read_checkpoint(tmp_path / "last.pt", "copy it", needs_outline=True)
            assert path.split("/")[-1] in str(refused.value)
    del saved[OUTLINE]
    torch.save(saved, tmp_path / "last.pt")
    with pytest.raises(UsageError, match="it has no 'outline'"):
        read_checkpoint(tmp_path / "last.pt", "copy it", needs_outline=True)


@pytest.mark.parametrize(
    "value",
    [torch.zeros(2, 3), torch.zeros(()), torch.zeros(0), torch.ones(3, dtype=torch.bfloat16), torch.ones(2).bool()],
)
def test_tensors_of_any_kind_have_an_outline(value: torch.Tensor) -> None:
    assert outline({"a": value}) == outline({"a": value.clone()})
    assert outline({"a": value}) != outline({"a": value.reshape(1, *value.shape)})
    if value.ndim == 2:
        assert outline({"a": value.T}) == outline({"a": value.T.contiguous()})
    if value.numel():
        assert outline({"a": value}) != outline({"a": ~value if value.dtype == torch.bool else value + 1})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (removed("optimizer/state/0"), r"it lacks optimizer/state/0\): remove it and give --resume"),
        (replaced("average/channel_std", another), "not as it was saved: average/channel_std"),
    ],
)
def test_a_run_is_not_resumed_from_a_part_of_its_checkpoint(change: Change, told: str, run: RunFolder) -> None:
    saved = torch.load(run.last, weights_only=True)
    change(saved)
    torch.save(saved, run.last)
    with pytest.raises(UsageError, match=told):
        resume(run.path, max_memory=1.0)


def of_another_network(run: RunFolder, saved: dict[str, Any]) -> None:
    run.save(saved | {"spec": saved["spec"] | {"arguments": {"F1": 4}}}, run.last)


def of_another_option(run: RunFolder, saved: dict[str, Any]) -> None:
    run.save(saved | {"options": saved["options"] | {"clip": 2.0}}, run.last)


def of_a_later_version(run: RunFolder, saved: dict[str, Any]) -> None:
    run.save(saved | {"options": saved["options"] | {"own_gravity": 1}}, run.last)


def of_other_weights(run: RunFolder, saved: dict[str, Any]) -> None:
    saved["model"].pop("network.final_layer.conv_classifier.weight")
    run.save(saved, run.last)


def of_a_place_that_there_is_not(run: RunFolder, saved: dict[str, Any]) -> None:
    run.save(saved | {"epoch": 2}, run.last)


def of_other_windows(run: RunFolder, saved: dict[str, Any]) -> None:
    run.save(saved | {"windows": saved["windows"] | {"valid": "others"}}, run.last)


def the_best_model_instead(run: RunFolder, saved: dict[str, Any]) -> None:
    shutil.copy(run.best, run.last)


def without_a_best_model(run: RunFolder, saved: dict[str, Any]) -> None:
    run.best.unlink()


def half_a_best_model(run: RunFolder, saved: dict[str, Any]) -> None:
    run.best.write_bytes(run.best.read_bytes()[:5000])


def another_best_model(run: RunFolder, saved: dict[str, Any]) -> None:
    best = torch.load(run.best, weights_only=True)
    del best[OUTLINE]
    run.save(best | {"valid_score": best["valid_score"] / 2}, run.best)


def without_subjects(run: RunFolder, saved: dict[str, Any]) -> None:
    run.subjects.unlink()


def other_subjects(run: RunFolder, saved: dict[str, Any]) -> None:
    people = json.loads(run.subjects.read_text())
    run.subjects.write_text(json.dumps(people | {"valid": people["test"], "test": people["valid"]}))


def half_a_configuration(run: RunFolder, saved: dict[str, Any]) -> None:
    run.config.write_text(json.dumps({"options": json.loads(run.config.read_text())["options"]}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (of_another_network, r"last\.pt holds another model than .*config\.json tells of: arguments differs"),
        (of_another_option, r"config\.json was changed since the run began: --clip \(was 2\.0, is 1\.0\)"),
        (of_a_later_version, "begun by another version of eegzarr, with --own-gravity"),
        (
            of_other_weights,
            r"weights aren't those of a EEGNet: network\.final_layer\.conv_classifier\.weight is missing, not 1 x",
        ),
        (of_a_place_that_there_is_not, "beyond epoch 2, with the scores of 1"),
        (of_other_windows, "the windows of the parts valid aren't those that the run began with"),
        (the_best_model_instead, r"last\.pt isn't a checkpoint to resume from, it lacks optimizer, scaler"),
        (without_a_best_model, r"best\.pt, the model of epoch 0, is missing: copy it again, or remove last\.pt and"),
        (half_a_best_model, r"best\.pt is damaged .*: copy it again, or remove last\.pt"),
        (another_best_model, r"best\.pt isn't the model of epoch 0 of this run"),
        (without_subjects, r"subjects\.json, which says who is in which part, is missing"),
        (other_subjects, r"subjects\.json names other subjects"),
        (half_a_configuration, "was rebuilt or has other releases"),
    ],
)
def test_what_belongs_to_another_run_is_named(change: Callable, told: str, run: RunFolder) -> None:
    saved = torch.load(run.last, weights_only=True)
    del saved[OUTLINE]
    change(run, saved)
    with pytest.raises(UsageError, match=told) as refused:
        resume(run.path, max_memory=1.0)
    assert "\n" not in str(refused.value)


def test_a_run_that_is_resumed_elsewhere_says_what_may_differ(run: RunFolder, options: FitOptions) -> None:
    saved = torch.load(run.last, weights_only=True)
    del saved[OUTLINE], saved["options"]["soft_argmax"]  # an option that is newer than the checkpoint has its default
    run.save(saved | {"made_by": saved["made_by"] | {"torch": "2.0", "precision": "bfloat16"}}, run.last)
    summary = resume(run.path, max_memory=1.0)
    assert summary.epochs == options.epochs
    told = f"resumed with torch {torch.__version__.split('+')[0]} (was 2.0), precision float32 (was bfloat16)"
    assert summary.notes[-1].startswith(told)
    assert "resumed with torch" in run.card.read_text()


def test_the_order_is_the_one_that_the_run_began_with(options: FitOptions, tmp_path: Path) -> None:
    """Where memory decides how to shuffle, a machine of other memory resumes in the saved order."""
    run = RunFolder(stopped_after_an_epoch(options, tmp_path / "run"))
    saved = torch.load(run.last, weights_only=True)
    del saved[OUTLINE]
    assert saved["stream"]["shuffle"] == "global"
    run.save(saved | {"stream": saved["stream"] | {"shuffle": "block", "buffer": 16}}, run.last)

    with pytest.raises(FitInterrupted):
        resume(run.path, [stop_after_an_epoch], max_memory=1.0)
    assert torch.load(run.last, weights_only=True)["stream"]["shuffle"] == "block"


def test_seeds_of_other_windows_or_options_are_not_compared(options: FitOptions, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    own = replace(
        options, lake=str(noise_lake(lake, np.random.default_rng(1).normal(size=SUBJECTS * WINDOWS))), epochs=1
    )
    fit_seeds(own, 2, tmp_path / "seeds", lambda chosen, run: fit(chosen, run, max_memory=1.0))
    with pytest.raises(UsageError, match=r"seed-2025 was begun with other options \(--epochs 1, not 2\)"):
        fit_seeds(replace(own, epochs=2), 3, tmp_path / "seeds", lambda chosen, run: fit(chosen, run, max_memory=1.0))
    shutil.rmtree(lake)
    noise_lake(lake, np.random.default_rng(2).normal(size=SUBJECTS * WINDOWS))
    with pytest.raises(UsageError, match=r"seed-2025 was trained on other windows than .* has now"):
        fit_seeds(own, 3, tmp_path / "seeds", lambda chosen, run: fit(chosen, run, max_memory=1.0))
