"""Build one group after the other, for each montage and rate of a dataset.

Recordings that a build without this option takes are in the same group as there, which stays the same to the byte.
Others go to groups of their own, named after their channels and rate. Which recordings are in such a group depends on
these recordings alone: what else the dataset has, now or later, changes none of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from eegzarr.build.montages.grouping import Grouping, grouped
from eegzarr.build.request import BuildRequest
from eegzarr.build.run import Placed, placed, run_build, run_forecast
from eegzarr.build.summary import BuildSummary, Forecast, summarize
from eegzarr.build.workers.script import refuse_in_worker
from eegzarr.build.workers.session import inspections_of
from eegzarr.errors import LakeError, NothingToBuild, RecipeError
from eegzarr.events import Listener
from eegzarr.recipes.montage import Montage
from eegzarr.store.group import read_attributes
from eegzarr.store.layout import group_path, open_store
from eegzarr.store.staging import list_names


def build_by_montage(request: BuildRequest, listeners: Sequence[Listener] = ()) -> BuildSummary:
    """Build a group for each montage; what `eegzarr.build_lake` promises with `by_montage`."""
    settled, place, grouping = _grouped(request, listeners)
    if not grouping.further:
        return run_build(request, listeners)
    made, failed = [], Counter[str]()
    lost = {path for paths in grouping.further.values() for path in paths}
    if grouping.has_main:
        main = run_build(request, listeners)
        made.append(replace(main, reasons=summarize(place.lake, place.group, but=lost).reasons))
    for montage, paths in grouping.further.items():
        try:
            made.append(run_build(_request_for(settled, montage, paths), listeners))
        except NothingToBuild as error:
            failed += error.reasons
        except RecipeError as error:
            failed[str(error)] += len(paths)
    if not made:
        return run_build(request, listeners)  # says why nothing can be built
    first = made[0]
    failed += Counter(reason for _, reason in grouping.apart if not grouping.has_main)
    return replace(first, reasons=first.reasons + failed, others=tuple(made[1:]))


def forecast_by_montage(request: BuildRequest, listeners: Sequence[Listener] = ()) -> Forecast:
    """Return what `build_by_montage` would make; touch nothing."""
    settled, _, grouping = _grouped(request, listeners)
    if not grouping.further:
        return run_forecast(request, listeners)
    lost = {path for paths in grouping.further.values() for path in paths}
    made, failed = [], []
    if grouping.has_main:
        main = run_forecast(request, listeners)
        made.append(replace(main, skipped=tuple(pair for pair in main.skipped if pair[0] not in lost)))
    for montage, paths in grouping.further.items():
        try:
            made.append(run_forecast(_request_for(settled, montage, paths), listeners))
        except NothingToBuild as error:
            failed += list(error.skipped)
        except RecipeError as error:
            failed += [(path, str(error)) for path in paths]
    if not made:
        return run_forecast(request, listeners)
    failed += [] if grouping.has_main else list(grouping.apart)
    skipped = (*made[0].skipped, *failed)
    reasons = Counter(reason for _, reason in skipped)
    return replace(made[0], skipped=skipped, reasons=reasons, others=tuple(made[1:]))


def _grouped(request: BuildRequest, listeners: Sequence[Listener]) -> tuple[BuildRequest, Placed, Grouping]:
    refuse_in_worker()
    settled, place = placed(request)
    grouping = grouped(inspections_of(settled, place.source, tuple(listeners)), settled.recipe)
    _check_others(place, settled.recipe.name, {montage.name for montage in grouping.further})
    return settled, place, grouping


def _request_for(request: BuildRequest, montage: Montage, paths: tuple[str, ...]) -> BuildRequest:
    """Return the request for one montage's group.

    Raises
    ------
    RecipeError
        If its rate is none for the recipe.
    """
    return replace(request, recipe=replace(request.recipe, sfreq=montage.sfreq), montage=montage.name, only=paths)


def _check_others(place: Placed, recipe: str, wanted: set[str]) -> None:
    """Refuse a lake with groups of montages that the source doesn't have: their windows would be in the lake twice.

    Raises
    ------
    LakeError
    """
    release = place.source.name
    for name in list_names(open_store(place.lake, read_only=True), recipe):
        path = group_path(recipe, name)
        montage = (read_attributes(place.lake, path) or {}).get("montage")
        if montage and name == f"{release}-{montage}" and montage not in wanted:
            raise LakeError(
                f"{place.lake}/{path} holds recordings of a montage that {place.source.root} has no group for now: "
                f"remove that folder, or give another --out or --name than {release}"
            )
