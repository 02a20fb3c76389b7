"""What a user asks a build for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eegzarr.errors import RecipeError, UsageError
from eegzarr.recipes.recipe import GIVEN, Recipe
from eegzarr.store.layout import check_storage


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What to build, and with what.

    Parameters
    ----------
    source : path or URL
        Root of the BIDS dataset.
    out : path or URL
        The lake; other groups in it are left alone.
    recipe : Recipe
        What a window is.
    name : str, optional
        Release to build; default the HBN release that the participants belong to, else the
        source's folder name.
    dtype : {"float32", "float16"}
        Of the stored samples.
    compression : {"lz4", "zstd", "none"}
        Of the stored samples; none of them loses anything.
    workers : int, optional
        Worker processes; default one a core, as far as the memory goes.
    memory_limit : int, optional
        Bytes for this process and its workers together; default half of the machine's.
    max_memory : float
        Share of the machine's memory above which no new shard starts; a build that finds it
        exceeded for half a minute stops.
    shard_size : int, optional
        Bytes of a shard before compression: what one task holds in memory. Default 64 MiB,
        less where the memory limit asks for it, or what the group was begun with.
    scheduler, scheduler_file : str, optional
        A Dask cluster that already runs, by its address or the file that its scheduler wrote.
        Its workers must see source and lake under the same paths, and have eegzarr.
    overwrite : bool
        Build anew where a group of another recipe or source stands.
    """

    source: str | Path
    out: str | Path
    recipe: Recipe
    name: str | None = None
    dtype: str = "float32"
    compression: str = "lz4"
    workers: int | None = None
    memory_limit: int | None = None
    max_memory: float = 0.85
    shard_size: int | None = None
    scheduler: str | None = None
    scheduler_file: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_storage(self.dtype, self.compression)
        if self.recipe.anchor == GIVEN:
            raise RecipeError(f"recipe {self.recipe.name}: the anchor {GIVEN!r} is of windows that were cut elsewhere")
        if self.scheduler and self.scheduler_file:
            raise UsageError("give --scheduler or --scheduler-file, not both")
        if self.on_running_cluster and (self.workers or self.memory_limit):
            raise UsageError("--workers and --memory-limit are for local workers: the cluster that runs has its own")

    @property
    def on_running_cluster(self) -> bool:
        """Whether the workers are there already."""
        return bool(self.scheduler or self.scheduler_file)
