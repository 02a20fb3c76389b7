"""A submission to the EEG Foundation Challenge.

The archive has one level: ``submission.py`` with the class ``Submission(SFREQ, DEVICE)``, and the
weights. Its code is the text of `eegzarr.train.models.predictor`, which imports only torch and
braindecode. Several runs of one challenge are averaged; a run that predicts the targets of both is in both,
with one file of weights.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eegzarr.challenge.presets import CHALLENGE1, CHALLENGE2, HBN_CHANNELS
from eegzarr.challenge.rules import GIVEN_SECONDS, NUMBERS, SAME_IN_BRAINDECODE_1_2
from eegzarr.errors import EegzarrError, UsageError
from eegzarr.store.open import recipes
from eegzarr.stream.alone import normalized_alone
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.models import predictor
from eegzarr.train.models.predictor import MICROVOLTS, Predictor
from eegzarr.train.models.zoo import known_models, load_model
from eegzarr.train.scoring.ensemble import unseen_windows
from eegzarr.train.scoring.metrics import nrmse
from eegzarr.train.scoring.predict import evaluation_stream, predict
from eegzarr.train.task import NORMALIZED_BY_STREAM

_TARGETS = {preset.name: str(preset.target) for preset in (CHALLENGE1, CHALLENGE2)}
_IMPORTED = "from eegzarr.stream.alone import normalized_alone\n"
_CODE = '''

import json
from pathlib import Path

MODELS = json.loads({models!r})


def _weights(name):
    """Return the path of a file of this archive, wherever the evaluator has put it."""
    here = Path(__file__).resolve().parent
    for folder in (Path("/app/input/res"), Path("/app/input"), here, Path(".")):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"{{name}} is neither beside submission.py nor in /app/input")


class Submission:
    """What the challenge's evaluator asks for models."""

    def __init__(self, SFREQ, DEVICE):
        self.sfreq = SFREQ
        self.device = DEVICE

    def get_model_challenge_1(self):
        return self._model("1")

    def get_model_challenge_2(self):
        return self._model("2")

    def _model(self, challenge):
        members = []
        for spec in MODELS[challenge]:
            if round(self.sfreq) != round(spec["sfreq"]):
                raise ValueError(f"the model was trained at {{spec['sfreq']}} Hz, got {{self.sfreq}} Hz")
            model = build_predictor(spec)
            path = _weights(spec["weights"])
            try:
                model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
            except RuntimeError as error:
                import braindecode

                told = f"{{spec['network']}} was trained with braindecode {{spec.get('braindecode', '?')}}"
                raise RuntimeError(f"{{told}}, here is {{braindecode.__version__}}: {{error}}") from error
            members.append(model if spec["output"] is None else OneOutput(model, spec["output"]))
        return Ensemble(members).to(self.device).eval()
'''


def write_submission(runs: Sequence[RunFolder], out: Path, unit: str = "V") -> dict[str, list[RunFolder]]:
    """Write the archive; return the runs by challenge.

    Raises
    ------
    UsageError
        If a run is of no challenge, isn't finished, or the file can't be written.
    """
    by_challenge: dict[str, list[RunFolder]] = {}
    specs: dict[str, list[dict[str, Any]]] = {}
    weights: dict[str, dict[str, torch.Tensor]] = {}
    for run in runs:
        name = ""
        for challenge, output in _answered(run).items():
            members, number = by_challenge.setdefault(challenge, []), NUMBERS[challenge]
            name = name or f"weights_challenge_{number}_{len(members)}.pt"
            members.append(run)
            saved_model = load_model(run.best)
            _check_fits(run, saved_model)
            spec = torch.load(run.best, map_location="cpu", weights_only=True)["spec"]
            specs.setdefault(str(number), []).append(spec | {"unit": unit, "weights": name, "output": output})
            weights[name] = saved_model.state_dict()
    code = _predictor_alone() + _CODE.format(models=json.dumps(specs))
    part = out.with_name(f"{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive, tempfile.TemporaryDirectory() as scratch:
            archive.writestr(_entry("submission.py"), code)
            for name, state in weights.items():
                torch.save(state, Path(scratch) / name)
                archive.writestr(_entry(name), (Path(scratch) / name).read_bytes())
        part.replace(out)
    except OSError as error:
        raise UsageError(f"{out} can't be written: {error.strerror or error}") from error
    return by_challenge


def _entry(name: str) -> zipfile.ZipInfo:
    """Return a file of the archive without its time: the same run makes the same bytes, whatever the clock says."""
    entry = zipfile.ZipInfo(name)  # of 1980, where the time of archives begins
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return entry


def _predictor_alone() -> str:
    """Return the text of the predictor's module, in place of its import the function that it has of eegzarr."""
    before, imported, after = inspect.getsource(predictor).partition(_IMPORTED)
    assert imported, "the predictor imports something else of eegzarr"
    return f"{before}\n{inspect.getsource(normalized_alone)}\n{after}"


def braindecode_lines(by_challenge: Mapping[str, Sequence[RunFolder]]) -> list[str]:
    """Return which version of braindecode an archive's models need, in lines."""
    lines = []
    for run in {str(run.path): run for runs in by_challenge.values() for run in runs}.values():
        spec = run.read_json(run.config)["model"]
        trained_with = spec.get("braindecode", "an unknown version")
        if spec["network"] in SAME_IN_BRAINDECODE_1_2:
            lines.append(f"{spec['network']} of {run.path}: trained with braindecode {trained_with}, the same in 1.2")
        else:
            lines.append(
                f"{spec['network']} of {run.path} needs braindecode {trained_with}: in 1.2, of the challenge's time, "
                "its weights or outputs are different"
            )
    return lines


def _answered(run: RunFolder) -> dict[str, int | None]:
    """Return the challenges that a run can answer, and for each the place of its target among several.

    Raises
    ------
    UsageError
        If there is none, or the challenge's evaluator lacks what the model needs.
    """
    options, task = run.options(), run.task()
    asked = "the challenge asks for " + " and ".join(_TARGETS.values())
    if task.classes:
        raise UsageError(f"{run.path} predicts classes of {task.names[0]}: {asked}, as numbers")
    several = len(task.names) > 1
    found = {
        challenge: task.names.index(target) if several else None
        for challenge, target in _TARGETS.items()
        if target in task.names or (challenge == options.recipe and not options.target)
    }
    if not found:
        raise UsageError(f"{run.path} predicts {', '.join(task.names)}: {asked}")
    if ":" in options.model:
        raise UsageError(
            f"{run.path} is of {options.model}, which the challenge's evaluator doesn't have: a submission "
            "has models of braindecode"
        )
    if options.normalize in NORMALIZED_BY_STREAM:
        raise UsageError(
            f"{run.path} takes windows normalised by {options.normalize}, of which the challenge's evaluator "
            "knows nothing: train with --normalize channel or window"
        )
    return found


def _check_fits(run: RunFolder, model: Predictor) -> None:
    channels = model.channels
    if channels is not None and tuple(channels) != HBN_CHANNELS:
        raise UsageError(
            f"{run.path} takes {', '.join(channels[:3])} … ({len(channels)} channels), not those that the challenge's "
            "evaluator gives: E1 to E128 and Cz, in this order"
        )
    if (seconds := model.n_times / model.sfreq) > GIVEN_SECONDS:
        raise UsageError(
            f"{run.path} takes {seconds:g} s of a window, and the challenge's evaluator gives {GIVEN_SECONDS:g} s: "
            f"train with --crop {GIVEN_SECONDS:g}"
        )


def load_submission(path: Path, folder: Path, sfreq: float, device: torch.device) -> Any:
    """Unpack an archive into a folder and return its ``Submission``, as the challenge's evaluator does.

    Raises
    ------
    EegzarrError
        If it isn't as the evaluator expects it.
    """
    with zipfile.ZipFile(path) as archive:
        if any("/" in name for name in archive.namelist()):
            raise EegzarrError(f"{path} has folders: the evaluator wants one level")
        archive.extractall(folder)
    known_models()  # braindecode is imported without its warnings
    specification = importlib.util.spec_from_file_location("submission", folder / "submission.py")
    if specification is None or specification.loader is None:
        raise EegzarrError(f"{path} has no submission.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.Submission(sfreq, device)


def score_submission(
    path: Path, by_challenge: dict[str, list[RunFolder]], unit: str = "V", device: torch.device | None = None
) -> dict[str, float]:
    """Score an archive on the windows that its runs held out, in the unit that it was written for.

    Returns
    -------
    dict of str to float
        NRMSE by challenge; without one whose windows the lake of its runs doesn't have.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scores = {}
    for recipe, runs in by_challenge.items():
        own = [run for run in runs if run.options().recipe == recipe] or runs
        lake = own[0].options().lake
        if recipe not in recipes(lake):
            continue
        windows = unseen_windows(runs, recipe, lake, own[0].options().releases)
        with tempfile.TemporaryDirectory() as folder:
            submission = load_submission(path, Path(folder), float(windows.attrs["sampling_rate"]), device)
            model: nn.Module = getattr(submission, f"get_model_challenge_{NUMBERS[recipe]}")()
        stream = evaluation_stream(windows, runs[0].options().batch_size)
        predicted = predict(model, stream, device, scale=1 / MICROVOLTS[unit])
        scores[recipe] = nrmse(predicted.target, predicted.prediction)
    return scores
