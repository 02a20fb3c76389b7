"""Whole numbers that are given as options: taken as what they are, or refused by name."""

from __future__ import annotations

import operator

from eegzarr.errors import UsageError

_MOST_EPOCHS = 2**20  # what DataLoader workers can share


def whole(name: str, value: object, least: int) -> int:
    """Return a number given as an option.

    Raises
    ------
    UsageError
        If it isn't whole, or below the least.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # NumPy's and PyTorch's integers, too
    except TypeError:
        raise UsageError(f"{name} must be a whole number, at least {least}, got {value!r:.60}") from None
    if number < least:
        raise UsageError(f"{name} must be at least {least}, got {number}")
    return number


def epoch_number(value: object) -> int:
    """Return the number of an epoch.

    Raises
    ------
    UsageError
        If there is no such epoch.
    """
    number = whole("an epoch", value, 0)
    if number >= _MOST_EPOCHS:
        raise UsageError(f"an epoch is below {_MOST_EPOCHS}, got {number}: give the number of the epoch, not of a step")
    return number
