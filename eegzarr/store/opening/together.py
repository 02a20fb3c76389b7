"""Groups that are opened together: what they must share, and the channels that all of them have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from eegzarr.errors import LakeError, UsageError

COMMON = "common"
_SAME_RATE = 1e-4  # relative


def check_channels_option(channels: str | None) -> None:
    """Refuse a way to join channels that there isn't.

    Raises
    ------
    UsageError
    """
    if channels not in (None, COMMON):
        raise UsageError(
            f"channels must be {COMMON!r} or None, got {channels!r}: select channels of what is opened, as in "
            f'.sel(channel=["Cz"])'
        )


def check_joinable(names: tuple[str, str], attributes: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
    """Refuse two groups whose windows don't mean the same.

    Raises
    ------
    LakeError
        With what differs.
    """
    one, other = attributes
    rates = float(one.get("sampling_rate", np.nan)), float(other.get("sampling_rate", np.nan))
    if abs(rates[0] - rates[1]) > _SAME_RATE * rates[0]:
        raise LakeError(
            f"{names[0]} is at {rates[0]:g} Hz and {names[1]} at {rates[1]:g} Hz: open releases of one rate, such as "
            f"releases=[{names[0].rpartition('/')[2]!r}]"
        )
    if one["recipe"] != other["recipe"]:
        raise LakeError(f"{names[0]} and {names[1]} were built with different recipes: open them one by one")


def common_channels(names: Sequence[str], channels: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the channels that all groups have, in the order of the first.

    Raises
    ------
    LakeError
        If there is none.
    """
    shared = tuple(name for name in channels[0] if all(name in own for own in channels))
    if not shared:
        raise LakeError(f"{', '.join(names)} have no channel in common: open them one by one")
    return shared


def check_same_channels(names: Sequence[str], channels: Sequence[tuple[str, ...]]) -> None:
    """Refuse groups with different channels, or in another order.

    Raises
    ------
    LakeError
    """
    for name, own in zip(names[1:], channels[1:], strict=True):
        if own != channels[0]:
            shared = len(set(own) & set(channels[0]))
            instead = f', or all with channels="{COMMON}" for the {shared} channels that they share' if shared else ""
            raise LakeError(f"{names[0]} and {name} have different channels: open them one by one{instead}")


def of_channels(table: xr.Dataset, channels: tuple[str, ...]) -> xr.Dataset:
    """Return a table of recordings for some channels, by their names."""
    own = table["channel"].to_numpy().tolist()
    return table if tuple(own) == channels else table.isel(channel=[own.index(name) for name in channels])
