"""One shard: its windows encoded as they come, written, and described by its receipt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
from numcodecs import blosc

from eegzarr.build.task import Piece, ShardTask, read_piece, shard_buffer
from eegzarr.errors import LakeError, RecordingError
from eegzarr.recordings.quartiles import quartiles
from eegzarr.store.codec import codec_mark
from eegzarr.store.integers import BEYOND, beyond_reason, is_too_large, round_to, to_integers, to_microvolts
from eegzarr.store.layout import EEG, RECEIPTS, SCRATCH, Geometry, open_array
from eegzarr.store.receipt import Moments, Receipt, Rounding, WindowChecks, max_rounding
from eegzarr.store.shard import ShardEncoder, writing

_ROUNDED_TOGETHER = 4  # windows, whose copies as float64 stay in the processor's cache


def write_shard(task: ShardTask, prepared: dict[int, str]) -> Receipt:
    """Read, encode and write one shard, then its receipt.

    A window that can't be read stays NaN and ``valid`` is False; none moves. Called in a
    worker process; doing it twice writes the same bytes twice.

    Parameters
    ----------
    prepared : dict of int to str
        Recordings that `prepare` has put beside the receipts, by their row in the plan; with the
        reason where it could not.

    Raises
    ------
    BuildStopped
        If a recording isn't what the plan was made from.
    """
    buffer = shard_buffer(task.geometry)

    def windows_of(piece: Piece) -> npt.NDArray[np.float32]:
        part = buffer[: len(piece.starts)]
        read_piece(task, piece, prepared, part)
        return part

    return fill_shard(task, windows_of)


def fill_shard(task: ShardTask, windows_of: Callable[[Piece], npt.NDArray[np.float32]]) -> Receipt:
    """Encode the windows of each piece of a shard, write the shard as they come, then its receipt.

    Where `windows_of` raises a RecordingError, or the type can't hold what it gives, the piece's
    windows become NaN and its recording gets the reason.
    """
    blosc.use_threads = False  # for the rest of the process: several threads of one worker may encode
    filled = []
    with _sink(task) as write:
        encoder = ShardEncoder(task.geometry, write)
        for piece in task.pieces:
            try:
                windows, reason = windows_of(piece), ""
            except RecordingError as error:
                windows, reason = shard_buffer(task.geometry)[: len(piece.starts)], str(error)
                windows[:] = np.nan
            filled.append(_encode_piece(task, piece, windows, reason, encoder))
        if task.is_encoded:
            encoder.close()
        receipt = _receipt(task, filled, encoder)
        # Still inside the `with`: a file of other content never takes the place of the one that is there.
        if task.wanted is not None and not task.wanted.fits(receipt):
            raise LakeError(
                f"shard {task.shard} of {task.lake}/{task.group} has other content than before: the signals in "
                f"{task.source_root} have changed. Rebuild the group with python -m eegzarr.build --overwrite"
            )
    if task.wanted is None and task.is_kept:
        receipts = open_array(task.lake, f"{task.group}/{SCRATCH}/{RECEIPTS}", read_only=False)
        receipts[task.shard] = receipt.to_json()
    return receipt


@dataclass(frozen=True, kw_only=True)
class _Filled:
    """What the receipt of a shard says of the windows of one piece.

    Attributes
    ----------
    reason : str
        Why windows are invalid, "" where none is.
    reached : float
        The largest sample that the type can't hold in uV, 0 where there is none.
    """

    recording: int
    reason: str
    reached: float
    valid: npt.NDArray[np.bool_]
    peak_to_peak: npt.NDArray[np.float32]
    moments: Moments
    quartiles: npt.NDArray[np.float32]
    rounding: Rounding


def _encode_piece(
    task: ShardTask, piece: Piece, windows: npt.NDArray[np.float32], reason: str, encoder: ShardEncoder
) -> _Filled:
    """Encode the windows of a piece, rounded in place where integers are stored, and describe them."""
    geometry, there, rounding = task.geometry, _there(task, piece), Rounding()
    least, largest, reached = _extremes(windows, geometry)
    if there is not None:
        least, largest = least[:, there], largest[:, there]
    # Extremes are finite only where all samples are: one pass over the signal less.
    valid: npt.NDArray[np.bool_] = np.all(np.isfinite(least) & np.isfinite(largest), axis=1)
    if geometry.step:
        # Statistics are of what is stored.
        least, largest = (_as_stored(one, geometry.step) for one in (least, largest))
        rounding = _add_integers(encoder, windows, geometry.step)
    readable = windows if valid.all() else windows[valid]
    if geometry.dtype == "float16":
        rounding = Rounding.of(readable if there is None else readable[:, there])
    filled = _Filled(
        recording=piece.recording,
        reason=_beyond(reached, geometry) if reached else reason,
        reached=reached,
        valid=valid,
        peak_to_peak=(largest - least).max(axis=1),
        moments=Moments.of(readable) if there is None else Moments.of_some(readable, there),
        quartiles=_quartiles(readable, there),
        rounding=rounding,
    )
    if not geometry.step and task.is_encoded:
        encoder.add(windows)
    return filled


def _receipt(task: ShardTask, filled: Sequence[_Filled], encoder: ShardEncoder) -> Receipt:
    """Return the receipt of a shard whose pieces are all encoded."""
    return Receipt(
        shard=task.shard,
        signals_digest=task.signals_digest,
        nbytes=encoder.nbytes,
        crc32c=encoder.crc32c,
        content=encoder.content,
        peak_to_peak=np.concatenate([piece.peak_to_peak for piece in filled]),
        valid=np.concatenate([piece.valid for piece in filled]),
        moments=tuple(piece.moments for piece in filled),
        reasons={piece.recording: piece.reason for piece in filled if piece.reason},
        rounding=reduce(max_rounding, (piece.rounding for piece in filled), task.lost),
        codec=codec_mark(task.geometry),
        beyond={piece.recording: piece.reached for piece in filled if piece.reached and task.geometry.step},
        checks=WindowChecks.joined(encoder.checks),
        quartiles=tuple(piece.quartiles for piece in filled),
    )


def _quartiles(windows: npt.NDArray[np.float32], there: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32]:
    """Return quartiles of each channel, (3, channel), NaN of those that a recording lacks."""
    if there is None:
        return quartiles(windows)
    found = np.full((3, windows.shape[1]), np.nan, np.float32)
    found[:, there] = quartiles(windows[:, there])
    return found


def _sink(task: ShardTask) -> AbstractContextManager[Callable[[bytes], object]]:
    if not task.is_kept:
        return nullcontext(lambda content: None)
    return writing(task.lake, f"{task.group}/{EEG}/{task.geometry.shard_key(task.shard)}")


def _there(task: ShardTask, piece: Piece) -> npt.NDArray[np.int64] | None:
    """Return the rows of the channels that a piece's windows have a signal for, None for all of them."""
    if task.missing != "nan" or piece.header is None:
        return None
    lacking = piece.header.lacking(task.channels)
    return np.flatnonzero(~np.isin(task.channels, lacking)) if lacking else None


def _add_integers(encoder: ShardEncoder, windows: npt.NDArray[np.float32], step: float) -> Rounding:
    """Encode windows as integers, a few at a time, and round them in place; return the largest errors."""
    largest = Rounding()
    for first in range(0, len(windows), _ROUNDED_TOGETHER):
        integers, rounding = round_to(windows[first : first + _ROUNDED_TOGETHER], step)
        encoder.add(integers)
        largest = max_rounding(largest, rounding)
    return largest


def _as_stored(samples: npt.NDArray[np.float32], step: float) -> npt.NDArray[np.float32]:
    return to_microvolts(to_integers(samples, step), step)


def _extremes(
    windows: npt.NDArray[np.float32], geometry: Geometry
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], float]:
    """Return the least and the largest sample of each window's channels, (window, channel).

    A window with a sample that the type can't hold becomes NaN, whole; the others stay. The third value is the
    largest such sample, 0 where there is none.
    """
    least, largest = windows.min(axis=2), windows.max(axis=2)
    reached = np.abs(np.stack([least, largest]))
    highest = reached.max(axis=(0, 2), initial=0, where=np.isfinite(reached))
    for window in np.flatnonzero(~np.isfinite(reached).all(axis=(0, 2))).tolist():
        samples = np.abs(windows[window])
        highest[window] = samples.max(initial=0, where=np.isfinite(samples))
    integers = bool(geometry.step)
    too_high = is_too_large(highest, geometry.step) if integers else highest > np.finfo(geometry.dtype).max
    if not too_high.any():
        return least, largest, 0.0
    windows[too_high] = np.nan
    least[too_high] = largest[too_high] = np.nan
    return least, largest, float(highest.max())


def _beyond(reached: float, geometry: Geometry) -> str:
    """Say why windows are invalid that reach so many uV."""
    if geometry.step:
        return beyond_reason(reached, geometry.step)
    return f"{BEYOND}{reached:.3g} uV, more than {geometry.dtype} holds: windows that do are invalid"
