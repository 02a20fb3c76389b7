"""What a written shard adds to its group: size, checksum, labels and statistics of its windows."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import xarray as xr

_CHECKS = ("nbytes", "crc32c")


@dataclass(frozen=True)
class Moments:
    """Count, mean (uV) and sum of squared deviations (uV^2) of samples, per channel.

    The count is one number where it is that of all channels, and an array where some recordings lack channels. They
    add up exactly: Chan, Golub & LeVeque (1983), doi:10.1080/00031305.1983.10483115.
    """

    count: int | npt.NDArray[np.int64]
    mean: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]

    @classmethod
    def of(cls, windows: npt.NDArray) -> Moments:
        """Moments of windows of shape (window, channel, time)."""
        total = cls(0, np.zeros(windows.shape[1]), np.zeros(windows.shape[1]))
        for first in range(0, len(windows), 8):  # a float64 copy that stays in the processor's cache
            samples = windows[first : first + 8].astype(np.float64)
            mean = samples.mean(axis=(0, 2))
            samples -= mean[:, None]
            squares = np.einsum("wct,wct->c", samples, samples)
            total += cls(samples.shape[0] * samples.shape[2], mean, squares)
        return total

    @classmethod
    def of_some(cls, windows: npt.NDArray, channels: npt.NDArray[np.int64]) -> Moments:
        """Moments of windows that have a signal in some channels alone."""
        own = cls.of(windows[:, channels])
        count, mean, squares = np.zeros(windows.shape[1], np.int64), *np.zeros((2, windows.shape[1]))
        count[channels], mean[channels], squares[channels] = own.count, own.mean, own.squares
        return cls(count, mean, squares)

    @property
    def is_empty(self) -> bool:
        """Whether they are of no sample."""
        return not np.any(self.count)

    def picked(self, channels: list[int]) -> Moments:
        """Return those of some channels."""
        count = self.count[channels] if isinstance(self.count, np.ndarray) else self.count
        return Moments(count, self.mean[channels], self.squares[channels])

    def scales(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return mean and standard deviation of each channel, NaN where there is no sample."""
        count = np.broadcast_to(self.count, self.mean.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            std = np.sqrt(np.maximum(self.squares, 0) / count)
        return np.where(count > 0, self.mean, np.nan), np.where(count > 0, std, np.nan)

    def __add__(self, other: Moments) -> Moments:
        if isinstance(self.count, np.ndarray) or isinstance(other.count, np.ndarray):
            return self._added_by_channel(other)
        count = self.count + other.count
        if not count:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        return Moments(count, mean, self.squares + other.squares + delta**2 * (self.count * other.count / count))

    def _added_by_channel(self, other: Moments) -> Moments:
        count = np.asarray(self.count + other.count)
        delta = other.mean - self.mean
        share = other.count / np.maximum(count, 1)
        return Moments(count, self.mean + delta * share, self.squares + other.squares + delta**2 * (self.count * share))


def table_moments(recordings: xr.Dataset) -> list[Moments]:
    """Return the moments that a table of recordings has of each."""
    counts = recordings["count"].to_numpy()
    mean = recordings["mean"].to_numpy()
    squares = recordings["sum_of_squares"].to_numpy() - counts * mean**2
    # One count for all channels, but where the recording lacks some.
    of_all = [int(own[0]) if (own == own[:1]).all() and len(own) else own for own in counts]
    return [Moments(n, m, s) for n, m, s in zip(of_all, mean, squares, strict=True)]


@dataclass(frozen=True)
class Rounding:
    """The largest errors that storing samples as float16 or int16 has made.

    Attributes
    ----------
    relative : float
        Relative to the sample, or to 2^-14 uV where that is more: below it float16 has fewer digits.
        At most 2^-11. Of int16 relative to the sample, or to the step where that is more, as float32: 0 where nothing
        was lost.
    absolute : float
        In uV; of int16 at most half a step, as float64.
    """

    relative: float = 0.0
    absolute: float = 0.0

    @classmethod
    def of(cls, windows: npt.NDArray[np.float32]) -> Rounding:
        """Measure it over windows of shape (window, channel, time), all finite."""
        largest = cls()
        for window in windows:  # in the processor's cache
            error = np.abs(window.astype(np.float16).astype(np.float32) - window)
            size = np.maximum(np.abs(window), np.float32(2**-14))
            largest = max_rounding(largest, cls(float((error / size).max()), float(error.max())))
        return largest


def max_rounding(one: Rounding, other: Rounding) -> Rounding:
    """Return the larger of each error."""
    return Rounding(max(one.relative, other.relative), max(one.absolute, other.absolute))


@dataclass(frozen=True, eq=False)
class WindowChecks:
    """What each window's own Blosc buffer in its shard must be.

    Attributes
    ----------
    nbytes, crc32c : array of uint32, shape (window,)
        Its length and its checksum; 0 where a window has no buffer of its own.
    """

    nbytes: npt.NDArray[np.uint32]
    crc32c: npt.NDArray[np.uint32]

    @classmethod
    def joined(cls, parts: Sequence[WindowChecks]) -> WindowChecks:
        """Return those of windows one after another."""
        nothing = np.empty(0, np.uint32)
        return cls(
            np.concatenate([nothing, *(part.nbytes for part in parts)]),
            np.concatenate([nothing, *(part.crc32c for part in parts)]),
        )


@dataclass(frozen=True)
class Imprint:
    """What distinguishes a shard's file from any other: its size in bytes, and the number of its content.

    The latter is None where a lake of an older version doesn't say.
    """

    nbytes: int
    content: int | None

    def fits(self, receipt: Receipt) -> bool:
        """Return whether a shard that was made is the one that this is of."""
        return self.nbytes == receipt.nbytes and self.content in (None, receipt.content)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a finished shard says of itself; written after the shard, and so its proof.

    Attributes
    ----------
    signals_digest : str
        Of the plan that it was written for; see `eegzarr.build.digest`.
    nbytes, crc32c : int
        Size and checksum of the shard's file.
    content : int
        What distinguishes its content from any other's; see `eegzarr.store.shard.content_number`.
    peak_to_peak : array of float32, shape (window,)
        In uV, NaN where the signal could not be read.
    valid : array of bool, shape (window,)
    moments : tuple of Moments
        Of the valid windows of each piece.
    reasons : dict of int to str
        Recordings that could not be read, by their row in the plan.
    rounding : Rounding
        Of the valid windows, where they are stored as float16 or int16.
    beyond : dict of int to float
        The largest uV of recordings with windows that are invalid since int16 doesn't hold them, by row.
    codec : str
        `eegzarr.store.codec.codec_mark` of what compressed it.
    checks : WindowChecks, optional
        Of its windows; None in receipts of an older version.
    quartiles : tuple of array of float32, shape (3, channel)
        Lower quartile, median and upper quartile of the valid windows of each piece, in uV; none in receipts of an
        older version.
    """

    shard: int
    signals_digest: str
    nbytes: int
    crc32c: int
    content: int
    peak_to_peak: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    moments: tuple[Moments, ...]
    reasons: dict[int, str]
    rounding: Rounding = Rounding()
    codec: str = ""
    beyond: Mapping[int, float] = field(default_factory=dict)
    checks: WindowChecks | None = None
    quartiles: tuple[npt.NDArray[np.float32], ...] = ()

    @property
    def imprint(self) -> Imprint:
        """What its shard's file must be."""
        return Imprint(self.nbytes, self.content)

    def to_json(self) -> str:
        """Return the receipt as text; arrays as base64 of their little-endian bytes."""
        checks = self.checks
        later = {} if checks is None else {name: _packed(getattr(checks, name), "<u4") for name in _CHECKS}
        return json.dumps(
            {
                "shard": self.shard,
                "signals_digest": self.signals_digest,
                "nbytes": self.nbytes,
                "crc32c": self.crc32c,
                "content": self.content,
                "peak_to_peak": _packed(self.peak_to_peak, "<f4"),
                "valid": _packed(self.valid, "u1"),
                "counts": [m.count if isinstance(m.count, int) else m.count.tolist() for m in self.moments],
                "means": [_packed(m.mean, "<f8") for m in self.moments],
                "squares": [_packed(m.squares, "<f8") for m in self.moments],
                "reasons": {str(row): reason for row, reason in self.reasons.items()},
                "rounding": [self.rounding.relative, self.rounding.absolute],
                "codec": self.codec,
                **({"beyond": {str(row): reached for row, reached in self.beyond.items()}} if self.beyond else {}),
                **({"checks": later} if later else {}),
                **({"quartiles": [_packed(own, "<f4") for own in self.quartiles]} if self.quartiles else {}),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Receipt:
        """Return the receipt that `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        checks = fields.get("checks")
        moments = zip(fields["counts"], fields["means"], fields["squares"], strict=True)
        return cls(
            shard=fields["shard"],
            signals_digest=fields["signals_digest"],
            nbytes=fields["nbytes"],
            crc32c=fields["crc32c"],
            content=fields["content"],
            peak_to_peak=_unpacked(fields["peak_to_peak"], "<f4"),
            valid=_unpacked(fields["valid"], "u1").astype(bool),
            moments=tuple(
                Moments(n if isinstance(n, int) else np.array(n, np.int64), _unpacked(m, "<f8"), _unpacked(s, "<f8"))
                for n, m, s in moments
            ),
            reasons={int(row): reason for row, reason in fields["reasons"].items()},
            rounding=Rounding(*fields["rounding"]),
            codec=fields.get("codec", ""),
            beyond={int(row): reached for row, reached in fields.get("beyond", {}).items()},
            checks=WindowChecks(*(_unpacked(checks[name], "<u4") for name in _CHECKS)) if checks else None,
            quartiles=tuple(_unpacked(own, "<f4").reshape(3, -1) for own in fields.get("quartiles", ())),
        )


def _packed(values: npt.NDArray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode()


def _unpacked(text: str, dtype: str) -> npt.NDArray:
    return np.frombuffer(base64.b64decode(text), dtype=dtype)
