"""What a lake looks like: names, dtypes, units, geometry, codecs.

`FORMATS` grows when a reader of an older version could misread a lake.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import zarr
from numcodecs import blosc
from zarr.abc.store import Store
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from eegzarr.errors import LakeError, RecipeError
from eegzarr.store.bucket import BucketStore
from eegzarr.store.integers import DEFAULT_STEP, FILL
from eegzarr.store.kinds import Dtype
from eegzarr.store.reading.bounded import BoundedStore
from eegzarr.suggest import did_you_mean
from eegzarr.urls import one_line_errors

if TYPE_CHECKING:
    import xarray as xr

FORMAT = "1"
FORMAT_2 = "2"  # of what a reader of version 1 would misread: whole recordings, cut windows, integers
FORMATS = (FORMAT, FORMAT_2)
BUILDING, COMPLETE = "building", "complete"

# Groups and arrays inside a `<recipe>/<release>` group.
METADATA = "zarr.json"
EEG = "eeg"
RECORDINGS = "recordings"
SHARDS = "shards"
CHECKSUMS = "checksums"
EVENTS = "events"  # of groups of whole recordings, as are the next three, in their table of recordings
OBSERVED, EVENTS_TSV, DATASET = "observed", "events_tsv", "dataset"
SIGNALS, TILES_DIGEST = "signals", "tiles_digest"  # attributes of cut groups
FIRST_TILE = "first_tile"  # of a recording that windows were cut from
CONTENT = "content"  # in the table of shards
SCRATCH = "build"  # only while a group is being built
RECEIPTS = "receipts"
RECEIPT = "receipt"  # in the table of shards, where receipts stay
# In the lake's root: `eegzarr.stream.stored`. The point keeps it apart from recipes, whose names never begin with one.
SPLITS = ".splits"
QUARTILES = ("lower_quartile", "median", "upper_quartile")  # in the table of recordings
WINDOW_NBYTES, WINDOW_CRC32C = "window_nbytes", "window_crc32c"  # in the table of shards: of single windows

PARTS = "*.partial"  # files that are being written; zarr-python names its own so, too

# What Zarr and xarray raise for metadata and chunks that aren't what was written: anything.
UNREADABLE = Exception

DTYPES = get_args(Dtype)
# By its name, Blosc's compressor and level. Level 0 keeps samples as they are.
COMPRESSIONS: dict[str, tuple[str, int]] = {"lz4": ("lz4", 5), "zstd": ("zstd", 5), "none": ("lz4", 0)}
_SHUFFLES = {"noshuffle": blosc.NOSHUFFLE, "shuffle": blosc.SHUFFLE, "bitshuffle": blosc.BITSHUFFLE}

_MIB = 2**20
FRAME_SIZE = 4 * _MIB
SHARD_SIZE = 64 * _MIB
LARGEST_SHARD = 2**24  # windows, where these are of some bytes

# dtype, units, long_name of every label along `window`; further columns of participants.tsv follow.
LABELS: dict[str, tuple[str, str, str]] = {
    "release": ("str", "", "release that the recording belongs to"),
    "subject": ("str", "", "BIDS subject, without sub-"),
    "task": ("str", "", "BIDS task"),
    "session": ("str", "", "BIDS session, empty where there is none"),
    "run": ("str", "", "BIDS run, empty where there is none"),
    "recording": ("int32", "", "row in the group's table of recordings"),
    "start": ("float64", "s", "first sample of the window, from the start of its recording"),
    "target": ("float32", "", "what the recipe predicts, NaN where missing"),
    "stimulus_onset": ("float64", "s", "onset of the trial's stimulus in its recording"),
    "response_onset": ("float64", "s", "onset of the trial's response in its recording"),
    "rt_from_stimulus": ("float64", "s", "reaction time from the stimulus"),
    "rt_from_trialstart": ("float64", "s", "reaction time from the start of the trial"),
    "correct": ("int8", "", "1 correct, 0 wrong, -1 unknown"),
    "response_type": ("str", "", "event value of the response"),
    "age": ("float32", "years", "age of the subject"),
    "sex": ("str", "", "sex of the subject"),
    "ehq_total": ("float32", "", "Edinburgh Handedness Questionnaire, total score"),
    "p_factor": ("float32", "", "general psychopathology factor (CBCL bifactor model)"),
    "attention": ("float32", "", "attention factor (CBCL bifactor model)"),
    "internalizing": ("float32", "", "internalizing factor (CBCL bifactor model)"),
    "externalizing": ("float32", "", "externalizing factor (CBCL bifactor model)"),
    "availability": ("str", "", "HBN's flag for this task and run: available, caution or unavailable"),
    "peak_to_peak": ("float32", "uV", "peak-to-peak amplitude, largest over channels"),
    "valid": ("bool", "", "whether the window's signal could be read"),
}
# Labels that only groups of whole recordings have, or only cut ones.
TILE_SAMPLES, TILE, TILE_OFFSET = "tile_samples", "tile", "tile_offset"
TILE_LABELS: dict[str, tuple[str, str, str]] = {
    TILE_SAMPLES: ("int32", "", "recorded samples of the tile, fewer where the recording ends or pauses in it"),
    TILE: ("int64", "", "tile of the signals' group that the window begins in"),
    TILE_OFFSET: ("int32", "", "sample of that tile that the window begins at"),
}
# Labels that are derived of others when a lake is opened (`eegzarr.store.quality`).
DERIVED = ("flat_channels", "noisy_channels", "bad_channels", "start_kit_excluded")
AXES = ("window", "channel", "time", "x", "y", "z", "channel_type", "mean", "std")
NUMERIC_PARTICIPANTS = ("age", "ehq_total", "p_factor", "attention", "internalizing", "externalizing")
# Names that no column from outside can have: it would be another label, an axis or a table of the group.
TAKEN = frozenset(
    {*LABELS, *AXES, *DERIVED, EEG, RECORDINGS, SHARDS, CHECKSUMS, SCRATCH, METADATA, *TILE_LABELS, EVENTS}
    - {*NUMERIC_PARTICIPANTS, "sex"}
)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How windows lie in shards and frames, and how frames are compressed.

    A shard is one file, one task and one receipt; a frame (Zarr's inner chunk) is what one
    Blosc buffer holds. Inside a frame every window is a Blosc buffer of its own (see
    `eegzarr.store.frame`): random access at the speed of one-window chunks, and whole-array
    reads at the speed of large ones.

    Attributes
    ----------
    step : float
        Of integers, in uV; 0 where samples are floats.
    """

    n_channels: int
    n_times: int
    dtype: str
    windows_per_frame: int
    windows_per_shard: int
    cname: str = "lz4"
    clevel: int = 5
    shuffle: str = "bitshuffle"
    step: float = 0.0

    def __post_init__(self) -> None:
        if (self.step > 0) != (np.dtype(self.dtype).kind == "i"):
            raise ValueError(f"integers, and they alone, have a step in uV: got {self.dtype} with {self.step}")

    @classmethod
    def of(
        cls,
        n_channels: int,
        n_times: int,
        dtype: str = "float32",
        shard_size: int = SHARD_SIZE,
        compression: str = "lz4",
        step: float | None = None,
    ) -> Geometry:
        """Choose frames of up to 4 MiB, and shards of up to `shard_size` bytes before compression.

        Integers have the default step where none is given.
        """
        window = n_channels * n_times * np.dtype(dtype).itemsize
        frame = 2 ** int(np.log2(np.clip(min(FRAME_SIZE, shard_size) // window, 1, 1024)))
        shard = frame * min(LARGEST_SHARD // frame, max(1, shard_size // (frame * window)))
        cname, clevel = COMPRESSIONS[compression]
        return cls(
            n_channels=n_channels,
            n_times=n_times,
            dtype=dtype,
            windows_per_frame=frame,
            windows_per_shard=shard,
            cname=cname,
            clevel=clevel,
            shuffle=_best_shuffle(compression, dtype, n_channels * n_times),
            step=0.0 if np.dtype(dtype).kind == "f" else step or DEFAULT_STEP,
        )

    @property
    def compression(self) -> str:
        """Name of the compressor, "none" where samples are stored as they are."""
        return self.cname if self.clevel else "none"

    @property
    def sample_type(self) -> np.dtype:
        """Type of a stored sample, little-endian."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def fill_value(self) -> float | int:
        """The value where there is no signal."""
        return FILL if self.step else np.nan

    @property
    def format_version(self) -> str:
        """The format that a reader must know: integers were misread by readers of the first."""
        return FORMAT_2 if self.step else FORMAT

    @property
    def itemsize(self) -> int:
        """Bytes of a sample."""
        return np.dtype(self.dtype).itemsize

    @property
    def window_bytes(self) -> int:
        """Bytes of a decoded window."""
        return self.n_channels * self.n_times * self.itemsize

    @property
    def frames_per_shard(self) -> int:
        """Frames in a shard's index."""
        return self.windows_per_shard // self.windows_per_frame

    @property
    def shuffle_code(self) -> int:
        """Blosc's number for the shuffle."""
        return _SHUFFLES[self.shuffle]

    def shard_key(self, shard: int) -> str:
        """Return the key of a shard's file below the `eeg` array."""
        return f"c/{shard}/0/0"


def check_storage(dtype: str, compression: str) -> None:
    """Refuse an unknown type or compression.

    Raises
    ------
    RecipeError
    """
    for name, asked, known in (("dtype", dtype, DTYPES), ("compression", compression, COMPRESSIONS)):
        if asked not in known:
            raise RecipeError(f"{name} must be {' or '.join(known)}, got {asked!r}.{did_you_mean(asked, known)}")


def _best_shuffle(compression: str, dtype: str, samples: int) -> str:
    """Return the shuffle that suits a compressor and a type best (docs/benchmarks.md)."""
    if compression == "none":
        return "noshuffle"
    # Blosc leaves out the bit shuffle where 8 doesn't divide the samples. Of float16, bytes make
    # lz4 1.4 % larger and decode in 0.7 of the time; and zstd compresses bytes better than bits.
    bits = compression == "lz4" and dtype != "float16" and samples % 8 == 0
    return "bitshuffle" if bits else "shuffle"


def lake_url(lake: str | os.PathLike[str]) -> str:
    """Return a lake's URL as it is, and its path made absolute: workers may run elsewhere, and know no ``~``."""
    text = os.fspath(lake)
    return text if "://" in text else os.path.abspath(os.path.expanduser(text))


def open_store(lake: str, *, read_only: bool = False) -> Store:
    """Return the Zarr store of a local path or an fsspec URL."""
    if "://" in lake:
        with one_line_errors(lake, LakeError):
            return BucketStore.from_url(lake, read_only=read_only)
    return zarr.storage.LocalStore(lake, read_only=read_only)


def open_array(lake: str, path: str, *, read_only: bool = True) -> zarr.Array:
    """Open an array of a lake.

    Raises
    ------
    FileNotFoundError
        If it isn't there.
    """
    # Without the format zarr-python asks for a version 2 array too, six requests in all.
    store = BoundedStore(open_store(lake, read_only=read_only))
    return zarr.open_array(store, path=path, mode="r" if read_only else "r+", zarr_format=3)


def open_group(store: Store, path: str = "", mode: Literal["r", "r+", "a"] = "r") -> zarr.Group:
    """Open a group by its own metadata, not the copy of them that the lake keeps."""
    return zarr.open_group(store, path=path, mode=mode, zarr_format=3, use_consolidated=False)


def open_dataset(
    store: Store,
    group: str,
    drop_variables: str | Iterable[str] | None = None,
    *,
    only: Collection[str] | None = None,
) -> xr.Dataset:
    """Open a group's arrays as they are stored, none of them read; see `eegzarr.store.reading.variables`."""
    from eegzarr.store.reading.variables import open_variables  # not in workers, nor xarray

    return open_variables(store, group, EEG, drop_variables, only)


def group_path(recipe_name: str, release: str) -> str:
    """Return the path of a group in its lake."""
    return f"{recipe_name}/{release}"


def create_eeg(group: zarr.Group, n_windows: int, geometry: Geometry) -> zarr.Array:
    """Create the array of signals: its metadata, no shard."""
    return group.create_array(
        EEG,
        shape=(n_windows, geometry.n_channels, geometry.n_times),
        dtype=geometry.dtype,
        chunks=(geometry.windows_per_frame, geometry.n_channels, geometry.n_times),
        shards=(geometry.windows_per_shard, geometry.n_channels, geometry.n_times),
        fill_value=geometry.fill_value,
        compressors=[
            BloscCodec(
                typesize=geometry.itemsize,
                cname=geometry.cname,  # type: ignore[arg-type]
                clevel=geometry.clevel,
                shuffle=geometry.shuffle,  # type: ignore[arg-type]
            ),
            Crc32cCodec(),
        ],
        dimension_names=("window", "channel", "time"),
        attributes={
            "long_name": "EEG",
            "units": "uV",
            "standard_name": "eeg",
            **({"scale_factor": geometry.step, "_FillValue": FILL} if geometry.step else {}),
        },
        overwrite=True,
    )


def label_storage(shape: tuple[int, ...]) -> dict[str, Any]:
    """Return how a label is stored: in few large chunks, each with a checksum."""
    return {
        "compressors": [ZstdCodec(level=3), Crc32cCodec()],
        "chunks": tuple(max(1, min(length, 2**18)) for length in shape),
    }
