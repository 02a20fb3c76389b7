"""What a worker gets to make one shard, and how it reads the windows of its pieces."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eegzarr.bids.beside import Surroundings
from eegzarr.bids.buckets import at_hand
from eegzarr.bids.recordings import Recording
from eegzarr.errors import BuildStopped, LakeError, RecordingError
from eegzarr.machine.system import can_be_mapped
from eegzarr.recipes.montage import Missing
from eegzarr.recipes.recipe import Preparation
from eegzarr.recordings.header import Header
from eegzarr.recordings.memory import channel_blocks
from eegzarr.recordings.mixing import Mixing, mixing
from eegzarr.recordings.preparation import cut, prepare_recording
from eegzarr.recordings.reader import read_windows
from eegzarr.recordings.surroundings import look_around
from eegzarr.recordings.tiles import read_tiles
from eegzarr.store.layout import SCRATCH, Geometry, open_store
from eegzarr.store.private import get_bytes, run
from eegzarr.store.receipt import Imprint, Rounding
from eegzarr.store.shard import put, reused

_TOGETHER = 8 * 2**20  # bytes of windows that are filled at a time
_NOTHING = Rounding()


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


def shard_buffer(geometry: Geometry, name: str = "windows") -> npt.NDArray[np.float32]:
    """Return the calling thread's buffer of a name for up to a shard of windows, (window, channel, time)."""
    return reused(name, (geometry.windows_per_shard, geometry.n_channels, geometry.n_times), np.float32)


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
        path = Path(lake) / key
        return np.asarray(np.load(path, mmap_mode="r" if can_be_mapped(path) else None))
    content = get_bytes(open_store(lake, read_only=True), key)
    if content is None:
        raise LakeError(f"{lake}/{key} is gone: run the same command again")
    return np.asarray(np.load(io.BytesIO(content)))


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
