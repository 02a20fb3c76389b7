"""What a user asks a build for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eegzarr.errors import RecipeError, UsageError
from eegzarr.recipes.recipe import GIVEN, Recipe
from eegzarr.store.layout import check_storage


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What to build, and with what.

    `eegzarr.build_lake` says what each is; here they are read: a recipe, bytes, a share. `step` is in uV, 0 for
    floats, None where the recordings decide. `windows` is a path or a DataFrame. With `montage` only the recordings
    `only` are built, which have that montage.
    """

    source: str | Path
    out: str | Path
    recipe: Recipe
    windows: Any = None
    name: str | None = None
    dtype: str = "float32"
    step: float | None = 0.0
    compression: str = "lz4"
    workers: int | None = None
    memory_limit: int | None = None
    max_memory: float = 0.85
    shard_size: int | None = None
    scheduler: str | None = None
    scheduler_file: str | None = None
    overwrite: bool = False
    montage: str = ""
    only: tuple[str, ...] = ()

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
