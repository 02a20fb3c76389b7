"""Windows normalised by themselves: in a stream, in a model, and in a submission, which has this function's text."""

from __future__ import annotations

from typing import Any


def normalized_alone(x: Any) -> Any:
    """Return windows in standard deviations of each channel from its mean; about 0 where a channel is flat.

    Parameters
    ----------
    x : array or Tensor of float32, shape (..., channel, time)
    """
    # From the first sample on. Else a flat channel's samples and their mean can differ by what rounding leaves, which
    # divided by itself is 1: of 127 samples NumPy's mean is off by more than four units in the last place.
    x = x - x[..., :1]
    x = x - x.mean(-1, keepdims=True)
    std = (x * x).mean(-1, keepdims=True) ** 0.5
    # A reference channel that was filtered varies by what rounding leaves: a millionth of the others, and less.
    is_flat = (std == 0) | (std < 1e-5 * std.mean(-2, keepdims=True))
    return x / (std + is_flat)
