"""Show what is in a lake: ``python -m eegzarr.info LAKE``."""

from __future__ import annotations

import math
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eegzarr.cli.run import Command
from eegzarr.errors import LakeError, UsageError, redacted

if TYPE_CHECKING:
    from eegzarr.store.describe import GroupSummary


def info(lake: str, /, *, json: bool = False, plot: Path | None = None) -> int:
    """Show what is in a lake.

    Its groups: windows, subjects, hours, size, status, recipe, and what the labels hold. No signal is read.

    Parameters
    ----------
    lake
        Path or URL.
    json
        Print everything as one JSON document, for scripts.
    plot
        Also draw the distributions of the labels (.png, .svg, .pdf).
    """
    from eegzarr.store.describe import describe_lake
    from eegzarr.store.whole import check_whole_lake
    from eegzarr.stream.stored import splits_of, told_split

    check_whole_lake(lake, "python -m eegzarr.info {lake}")
    summaries = describe_lake(lake)
    splits = splits_of(lake)
    if json:
        groups = [summary_fields(s) for s in summaries]
        print(dumps({"lake": redacted(lake), "groups": groups, "splits": splits}, indent=2))
    else:
        from eegzarr.watch.tables import print_tables

        print_tables(lake, summaries)
        for recipe, kept in splits.items():
            for name, parts in kept.items():
                print(f"{recipe}: split {name}: {told_split(parts)}")
    if plot:
        _plot(lake, summaries, plot)
    return 0


def summary_fields(summary: GroupSummary) -> dict[str, Any]:
    """Return a summary as JSON can hold it: no NaN, the ratio with the rest."""
    return _without_nan(asdict(summary) | {"ratio": summary.ratio})


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plot(lake: str, summaries: list[GroupSummary], path: Path) -> None:
    from eegzarr.pictures.canvas import save
    from eegzarr.pictures.labels import label_distributions
    from eegzarr.store.layout import COMPLETE
    from eegzarr.store.open import open_windows

    recipes: dict[str, list[str]] = {}
    for summary in summaries:
        if summary.status == COMPLETE:
            recipes.setdefault(summary.recipe, []).append(summary.group.rpartition("/")[2])
    if not recipes:
        raise LakeError(f"{lake} has no finished group to draw")
    if len(recipes) > 1:
        stem, suffix = path.stem, path.suffix
        paths = {recipe: path.with_name(f"{stem}-{recipe}{suffix}") for recipe in recipes}
    else:
        paths = dict.fromkeys(recipes, path)
    for recipe, releases in recipes.items():
        windows = open_windows(lake, recipe, releases)
        if not windows.sizes["window"]:
            raise UsageError(f"{lake}/{recipe} has no window to draw")
        save(label_distributions(windows), paths[recipe])


main = Command("eegzarr.info", info, again="")

if __name__ == "__main__":
    raise SystemExit(main())
