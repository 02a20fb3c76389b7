"""Models by name from braindecode, with their scaling inside."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eegzarr.errors import UsageError


class Regressor(nn.Module):
    """A network that takes windows in uV and predicts in the target's own unit.

    Standardising input and output is part of the model: a checkpoint needs no further
    numbers, and the optimizer sees quantities near 1.

    Parameters
    ----------
    network : Module
        Takes (batch, channel, time), gives (batch, 1).
    channel_mean, channel_std : array, shape (channel,)
        In uV, over the training windows. A channel that doesn't vary, such as the
        reference, isn't scaled.
    target_mean, target_std : float
        Over the training windows.
    """

    def __init__(
        self,
        network: nn.Module,
        channel_mean: npt.NDArray[np.float64],
        channel_std: npt.NDArray[np.float64],
        target_mean: float,
        target_std: float,
    ) -> None:
        super().__init__()
        self.network = network
        scale = np.where(channel_std > 0, channel_std, 1.0)
        self.register_buffer("channel_mean", torch.as_tensor(channel_mean, dtype=torch.float32)[:, None])
        self.register_buffer("channel_std", torch.as_tensor(scale, dtype=torch.float32)[:, None])
        self.register_buffer("target_mean", torch.tensor(target_mean, dtype=torch.float32))
        self.register_buffer("target_std", torch.tensor(target_std, dtype=torch.float32))
        self.channel_mean: torch.Tensor
        self.channel_std: torch.Tensor
        self.target_mean: torch.Tensor
        self.target_std: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return predictions, (batch,), for windows in uV, (batch, channel, time)."""
        return self.standardized(x) * self.target_std + self.target_mean

    def standardized(self, x: torch.Tensor) -> torch.Tensor:
        """Return predictions in standard deviations of the target from its mean, (batch,)."""
        return self.network((x.float() - self.channel_mean) / self.channel_std).squeeze(-1)


def default_model() -> str:
    """EEGNeX where there is a GPU; on a CPU it trains at under 20 windows/s, so EEGNet."""
    return "EEGNeX" if torch.cuda.is_available() else "EEGNet"


def make_network(
    name: str, *, n_chans: int, n_times: int, sfreq: float, arguments: dict[str, Any] | None = None
) -> nn.Module:
    """Make a braindecode model with one output.

    Parameters
    ----------
    name : str
        Of a class in ``braindecode.models``.
    n_chans, n_times : int
        Shape of a window.
    sfreq : float
        Hz.
    arguments : dict, optional
        Further arguments of the class.

    Raises
    ------
    UsageError
        If braindecode has no such model, or it can't be made for these windows.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Montage name", FutureWarning)  # braindecode's, at import
        import braindecode.models

    offered = {model: getattr(braindecode.models, model) for model in braindecode.models.__all__}
    known = sorted(model for model, kind in offered.items() if inspect.isclass(kind) and issubclass(kind, nn.Module))
    if name not in known:
        raise UsageError(f"--model {name!r} is none of braindecode's: {', '.join(known)}")
    try:
        network: nn.Module = offered[name](
            n_chans=n_chans, n_times=n_times, sfreq=sfreq, n_outputs=1, **(arguments or {})
        )
        network.eval()
        with torch.no_grad():
            output = network(torch.zeros(2, n_chans, n_times))
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise UsageError(
            f"--model {name} doesn't fit windows of {n_chans} channels, {n_times} samples: {error}"
        ) from error
    if not isinstance(output, torch.Tensor) or output.shape[0] != 2 or output.numel() != 2:
        raise UsageError(f"--model {name} gives no single number for a window, so it can't predict a target")
    return network
