"""Weights of an earlier run to begin from: pretrain on one recipe, fine-tune on another."""

from __future__ import annotations

from pathlib import Path

import torch

from eegzarr.errors import UsageError
from eegzarr.train.models.predictor import Predictor
from eegzarr.train.models.zoo import load_model

_SHOWN = 4


def take_weights(model: Predictor, run: str) -> str:
    """Give a model's network the weights of a run's best model where these fit; return what was done, for people.

    Weights of another shape, as those of a head for other targets, stay as they are, to be learned. Scales of channels
    and targets are those of the new training part.

    Raises
    ------
    UsageError
        If the run's network is another one, takes as many other channels, or no weight fits.
    """
    before = load_model(Path(run))
    if type(before.network) is not type(model.network):
        names = [_name(type(one.network)) for one in (before, model)]
        raise UsageError(f"--init-from {run} holds a {names[0]}, this run trains a {names[1]}: give --model {names[0]}")
    same_count = len(before.channel_mean) == len(model.channel_mean)
    if same_count and before.channels != model.channels and before.channels and model.channels:
        raise UsageError(
            f"--init-from {run} takes the channels {_some(before.channels)}, the windows have {_some(model.channels)}: "
            "its weights would be those of other channels. Select and order them in the recipe"
        )
    old, new = before.network.state_dict(), model.network.state_dict()
    fitting = {name: value for name, value in old.items() if name in new and new[name].shape == value.shape}
    learned = [name for name, _ in model.network.named_parameters()]
    if not any(name in fitting for name in learned):
        raise UsageError(f"--init-from {run}: none of its weights has the shape of those of this run's network")
    with torch.no_grad():
        model.network.load_state_dict({**new, **fitting})
    anew = [name for name in learned if name not in fitting]
    told = f"{len(learned) - len(anew)} of {len(learned)} weights are those of {run}"
    return f"{told}; {_some(anew)} {'begins' if len(anew) == 1 else 'begin'} anew" if anew else told


def _name(network: type) -> str:
    """Return what ``--model`` calls a network."""
    is_known = network.__module__.partition(".")[0] == "braindecode"
    return network.__name__ if is_known else f"{network.__module__}:{network.__name__}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" … ({len(names)})" if len(names) > _SHOWN else "")
