"""Samples as integers of 16 bits, which count steps of some uV as an amplifier does.

All samples of a group have one step, CF's ``scale_factor``, and `FILL`, CF's ``_FillValue``, marks where there is no
signal. What is read is the float32 nearest to integer times step, taken as float64: what a plain reader of CF computes,
rounded once.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from eegzarr.errors import UsageError
from eegzarr.recordings.units import microvolts
from eegzarr.store.receipt import Rounding

FILL, LARGEST = -(2**15), 2**15 - 1
DEFAULT_STEP = 0.05  # uV: half of it is far below an amplifier's noise
AUTO = "auto"
BEYOND = "reaches "  # how the reason begins why windows are invalid that no number of a type stands for
_DIGITS = 3  # of a step that is proposed
_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\D*)", re.ASCII)


def as_step(step: str | float | None, dtype: str) -> float | None:
    """Return the step in uV that is asked for, as a number or as a text such as ``"0.05uV"``.

    Returns
    -------
    float or None
        None for ``"auto"``, the default of `DEFAULT_STEP` where nothing is asked, 0 where samples aren't integers.

    Raises
    ------
    UsageError
        If it isn't a step, or samples aren't integers.
    """
    if dtype != "int16":
        if step is not None:
            raise UsageError(f"--step {step} is for --dtype int16: {dtype} has no step")
        return 0.0
    if step is None:
        return DEFAULT_STEP
    if str(step).strip().lower() == AUTO:
        return None
    found = _in_microvolts(step)
    if not 0 < found < math.inf:
        raise UsageError(f"--step must be auto or a voltage above 0, such as 0.05uV or 50nV, got {step!r}")
    return found


def _in_microvolts(step: str | float) -> float:
    found = _QUANTITY.fullmatch(str(step))
    unit = microvolts(found[2].strip() or "uV") if found else None
    if found is None or unit is None:
        return math.nan
    try:
        # As decimal numbers: 5e-8 V are the 0.05 uV that 50 nV are, to the last bit.
        return float(Decimal(found[1]) * Decimal(str(unit)))
    except ArithmeticError:  # more digits in its exponent than there are numbers
        return math.nan


def to_integers(windows: npt.NDArray, step: float) -> npt.NDArray[np.int16]:
    """Return the nearest integers of samples in uV; `FILL` for what isn't a number or is out of range."""
    counts = np.divide(windows, step, dtype=np.float64)
    np.rint(counts, out=counts)
    fits = np.abs(counts) <= LARGEST
    if not fits.all():
        counts[~fits] = FILL
    return counts.astype(np.int16)


def to_microvolts(
    integers: npt.NDArray[np.int16], step: float, out: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Return samples in uV, NaN where there is none."""
    if out is None:
        out = np.empty(integers.shape, np.float32)
    np.multiply(integers, step, out=out, dtype=np.float64, casting="same_kind")
    if integers.size and integers.min() == FILL:
        out[integers == FILL] = np.nan
    return out


def round_to(windows: npt.NDArray[np.float32], step: float) -> tuple[npt.NDArray[np.int16], Rounding]:
    """Round samples in uV to a step, in place; return their integers, and the largest error that was made."""
    integers = to_integers(windows, step)
    stored = to_microvolts(integers, step)
    error = np.abs(np.multiply(integers, step, dtype=np.float64) - windows)
    relative = np.abs(stored - windows) / np.maximum(np.abs(windows), np.float32(step))
    windows[...] = stored
    there = integers != FILL
    if not there.all():
        error, relative = error[there], relative[there]
    if not error.size:
        return integers, Rounding()
    # What is more than half a step comes of measuring it in float64.
    return integers, Rounding(float(relative.max()), min(float(error.max()), step / 2))


def is_lossless(rounding: Rounding) -> bool:
    """Return whether integers are the samples: as float32 they are the same to the last bit."""
    return rounding.relative == 0


def is_too_large(highest: npt.NDArray, step: float) -> npt.NDArray[np.bool_]:
    """Return which samples, in uV, no integer can represent."""
    return np.asarray(np.rint(highest.astype(np.float64) / step) > LARGEST)


def step_that_holds(highest: float) -> float:
    """Return the smallest step in uV, to three digits, that holds a sample of this many uV."""
    needed = highest / LARGEST
    digit = 10.0 ** (math.floor(math.log10(needed)) - _DIGITS + 1)
    return float(f"{math.ceil(needed / digit * (1 - 1e-12)) * digit:.{_DIGITS}g}")


def beyond_reason(highest: float, step: float) -> str:
    """Say why windows of a recording that reach this many uV are invalid."""
    return (
        f"{BEYOND}{highest:.3g} uV, more than int16 holds at a step of {step:g} uV (±{LARGEST * step:.4g} uV): windows "
        f"that do are invalid; a step of {step_that_holds(highest):g} uV would hold them"
    )
