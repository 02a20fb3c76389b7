"""What a worker does: read a shard's windows, write the shard, then its receipt."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numcodecs import blosc

from eegzarr.bids.beside import Surroundings
from eegzarr.bids.buckets import at_hand
from eegzarr.bids.recordings import Recording
from eegzarr.errors import BuildStopped, LakeError, RecordingError
from eegzarr.recipes.montage import Missing
from eegzarr.recipes.recipe import Preparation
from eegzarr.recordings.header import Header
from eegzarr.recordings.memory import channel_blocks
from eegzarr.recordings.mixing import Mixing, mixing
from eegzarr.recordings.preparation import cut, prepare_recording
from eegzarr.recordings.quartiles import quartiles
from eegzarr.recordings.reader import read_windows
from eegzarr.recordings.surroundings import look_around
from eegzarr.recordings.tiles import read_tiles
from eegzarr.store.codec import codec_mark
from eegzarr.store.integers import beyond_reason, is_too_large, round_to, to_integers, to_microvolts
from eegzarr.store.layout import EEG, RECEIPTS, SCRATCH, Geometry, open_array, open_store
from eegzarr.store.private import get_bytes, run
from eegzarr.store.receipt import Imprint, Moments, Receipt, Rounding, WindowChecks, max_rounding
from eegzarr.store.shard import ShardEncoder, put, reused, writing

_TOGETHER = 8 * 2**20  # bytes of windows that are filled at a time
_NOTHING = Rounding()
_ROUNDED_TOGETHER = 4  # windows, whose copies as float64 stay in the processor's cache


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The part of one shard that comes from one recording.

    Attributes
    ----------
    recording : int
        Row in the plan's recordings.
    source : Recording
        With its files and what lies beside it.
    starts : array of int64
        First sample of each window, in the shard's order.
    fingerprint : str
        Of the recording when the plan was made.
    as_it_stands : bool
        Whether windows are read unchanged from the recording; else it is prepared as a whole.
    header : Header, optional
        Of the recording; None for windows that were cut elsewhere.
    """

    recording: int
    source: Recording
    starts: npt.NDArray[np.int64]
    fingerprint: str
    as_it_stands: bool
    header: Header | None


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """All that a worker needs to write one shard.

    Attributes
    ----------
    wanted : Imprint, optional
        What the file must come out as, where a shard of a complete group is repaired.
    whole : bool
        Whether windows are tiles of whole recordings.
    lost : Rounding
        What the samples had lost before.
    is_kept : bool
        False where the shard is only made to compare it with the one that is there: nothing is written.
    is_encoded : bool
        False where only what its receipt says of windows is wanted: the shard itself isn't made.
    """

    lake: str
    group: str
    shard: int
    source_root: str
    channels: tuple[str, ...]
    geometry: Geometry
    pieces: tuple[Piece, ...]
    signals_digest: str
    sfreq: float
    preparation: Preparation
    whole: bool = False
    missing: Missing = "skip"
    wanted: Imprint | None = None
    lost: Rounding = _NOTHING
    is_kept: bool = True
    is_encoded: bool = True


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


def shard_buffer(geometry: Geometry, name: str = "windows") -> npt.NDArray[np.float32]:
    """Return the calling thread's buffer of a name for up to a shard of windows, (window, channel, time)."""
    return reused(name, (geometry.windows_per_shard, geometry.n_channels, geometry.n_times), np.float32)


def fill_shard(task: ShardTask, windows_of: Callable[[Piece], npt.NDArray[np.float32]]) -> Receipt:
    """Encode the windows of each piece of a shard, write the shard as they come, then its receipt.

    Where `windows_of` raises a RecordingError, or the type can't hold what it gives, the piece's
    windows become NaN and its recording gets the reason.
    """
    geometry = task.geometry
    blosc.use_threads = False  # for good: several threads of one worker may encode
    moments, valid, peak_to_peak, reasons = [], [], [], {}
    own_quartiles: list[npt.NDArray[np.float32]] = []
    beyond: dict[int, float] = {}
    rounding = task.lost
    with _sink(task) as write:
        encoder = ShardEncoder(geometry, write)
        for piece in task.pieces:
            there = _there(task, piece)
            try:
                part = windows_of(piece)
                least, largest, reached = _extremes(part, geometry)
                if reached:
                    reasons[piece.recording] = _beyond(reached, geometry)
                    beyond |= {piece.recording: reached} if geometry.step else {}
            except RecordingError as error:
                reasons[piece.recording] = str(error)
                part = shard_buffer(geometry)[: len(piece.starts)]
                part[:] = np.nan
                least = largest = part[:, :, 0]
            # Extremes are finite only where all samples are: one pass over the signal less.
            if there is not None:
                least, largest = least[:, there], largest[:, there]
            finite = np.isfinite(least).all(axis=1) & np.isfinite(largest).all(axis=1)
            valid.append(finite)
            if geometry.step:
                # Statistics are of what is stored.
                least, largest = (_as_stored(one, geometry.step) for one in (least, largest))
                rounding = max_rounding(rounding, _add_integers(encoder, part, geometry.step))
            peak_to_peak.append((largest - least).max(axis=1))
            readable = part if finite.all() else part[finite]
            own_quartiles.append(_quartiles(readable, there))
            moments.append(Moments.of(readable) if there is None else Moments.of_some(readable, there))
            if geometry.dtype == "float16":
                rounding = max_rounding(rounding, Rounding.of(readable if there is None else readable[:, there]))
            if not geometry.step and task.is_encoded:
                encoder.add(part)
        if task.is_encoded:
            encoder.close()
        receipt = Receipt(
            shard=task.shard,
            signals_digest=task.signals_digest,
            nbytes=encoder.nbytes,
            crc32c=encoder.crc32c,
            content=encoder.content,
            peak_to_peak=np.concatenate(peak_to_peak),
            valid=np.concatenate(valid),
            moments=tuple(moments),
            reasons=reasons,
            rounding=rounding,
            codec=codec_mark(geometry),
            beyond=beyond,
            checks=WindowChecks.joined(encoder.checks),
            quartiles=tuple(own_quartiles),
        )
        if task.wanted is not None and not task.wanted.fits(receipt):
            raise LakeError(
                f"shard {task.shard} of {task.lake}/{task.group} has other content than before: the signals in "
                f"{task.source_root} have changed. Rebuild the group with python -m eegzarr.build --overwrite"
            )
    if task.wanted is None and task.is_kept:
        receipts = open_array(task.lake, f"{task.group}/{SCRATCH}/{RECEIPTS}", read_only=False)
        receipts[task.shard] = receipt.to_json()
    return receipt


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


def read_piece(task: ShardTask, piece: Piece, prepared: dict[int, str], out: npt.NDArray[np.float32]) -> None:
    """Read the windows of a piece in uV, prepared as the task says.

    Raises
    ------
    RecordingError
        If they can't be read.
    """
    if piece.as_it_stands:
        surroundings = unchanged(task.source_root, piece)
        with at_hand(task.source_root, surroundings.files) as path:
            _read_as_it_stands(path, task, piece, out)
        return
    if reason := prepared.get(piece.recording):
        raise RecordingError(reason)
    mixed = _mixing(task, piece)
    windows = out
    if not mixed.is_in_place:
        windows = reused("mixed", (len(out), mixed.rows, out.shape[2]), np.float32)
    first = 0
    for block in _blocks(task, piece, mixed, is_stored=piece.recording in prepared):
        cut(block, piece.starts, first, windows, pads=task.whole)
        first += len(block)
    mixed.apply(windows)
    if windows is not out:
        mixed.give(windows, out)


def _read_as_it_stands(path: Path, task: ShardTask, piece: Piece, out: npt.NDArray[np.float32]) -> None:
    """Read windows unchanged; if their recording lacks channels, fill these, some windows at a time."""
    read = read_tiles if task.whole else read_windows
    if task.missing == "skip" or not header_of(piece).lacking(task.channels):
        read(path, piece.starts, task.channels, out, header_of(piece))
        return
    mixed = _mixing(task, piece)
    together = max(1, _TOGETHER // (4 * mixed.rows * out.shape[2]))
    buffer = reused("mixed", (together, mixed.rows, out.shape[2]), np.float32)
    for first in range(0, len(out), together):
        some = slice(first, first + together)
        windows = buffer[: len(out[some])]
        read(path, piece.starts[some], mixed.channels, windows[:, : len(mixed.channels)], header_of(piece))
        mixed.apply(windows)
        mixed.give(windows, out[some])


def _mixing(task: ShardTask, piece: Piece) -> Mixing:
    return mixing(header_of(piece), task.channels, task.preparation, task.missing)


def _blocks(task: ShardTask, piece: Piece, mixed: Mixing, *, is_stored: bool) -> Iterator[npt.NDArray[np.float32]]:
    """Yield a recording's prepared channels, a few at a time: those that `prepare` has put, or as they are made."""
    if is_stored:
        for number, _ in enumerate(channel_blocks(mixed.channels, header_of(piece).n_times)):
            yield _get_prepared(task.lake, _prepared_key(task.group, piece.recording, number))
        return
    surroundings = unchanged(task.source_root, piece)
    with at_hand(task.source_root, surroundings.files) as path:
        yield from prepare_recording(path, mixed.channels, task.preparation, task.sfreq, header_of(piece))


def header_of(piece: Piece) -> Header:
    """Return the header of a piece's recording."""
    if piece.header is None:
        raise ValueError(f"{piece.source.path} was cut elsewhere: it has no header")
    return piece.header


def prepare(task: ShardTask, piece: Piece) -> str:
    """Prepare a recording that several shards need, once, and put it beside the receipts.

    Returns
    -------
    str
        Why that is impossible, or "".
    """
    try:
        mixed = _mixing(task, piece)
        for number, block in enumerate(_blocks(task, piece, mixed, is_stored=False)):
            buffer = io.BytesIO()
            np.save(buffer, block)
            put(task.lake, _prepared_key(task.group, piece.recording, number), buffer.getbuffer())
            del block, buffer  # before the next channels are filtered
    except RecordingError as error:
        return str(error)
    return ""


def drop_prepared(lake: str, group: str, recording: int) -> None:
    """Remove what `prepare` put."""
    run(open_store(lake).delete_dir(_prepared_folder(group, recording)))


def _prepared_folder(group: str, recording: int) -> str:
    return f"{group}/{SCRATCH}/prepared/{recording}"


def _prepared_key(group: str, recording: int, block: int) -> str:
    return f"{_prepared_folder(group, recording)}/{block}.npy"


def _get_prepared(lake: str, key: str) -> npt.NDArray[np.float32]:
    if "://" not in lake:
        signal: npt.NDArray[np.float32] = np.load(Path(lake) / key, mmap_mode="r")
        return signal
    content = get_bytes(open_store(lake, read_only=True), key)
    if content is None:
        raise LakeError(f"{lake}/{key} is gone: run the same command again")
    fetched: npt.NDArray[np.float32] = np.load(io.BytesIO(content))
    return fetched


def unchanged(root: str, piece: Piece) -> Surroundings:
    """Return what lies beside a piece's recording, which is what the plan was made from."""
    path = f"{root}/{piece.source.path}"
    try:
        surroundings = look_around(root, piece.source)
    except RecordingError as error:
        raise BuildStopped(
            f"{path} went away while the build ran: restore it and run the same command again"
        ) from error
    if surroundings.fingerprint != piece.fingerprint:
        raise BuildStopped(f"{path} changed while the build ran: restore it, or rebuild with --overwrite")
    return surroundings


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
    return f"reaches {reached:.3g} uV, more than {geometry.dtype} holds: windows that do are invalid"
