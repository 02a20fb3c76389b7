"""Why a recipe gives the windows that it gives: the events' values, the classes, and an example of each reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import numpy.typing as npt

from eegzarr.bids.dataset import Source
from eegzarr.build.checks import check_target, named_source
from eegzarr.build.foreseen.lines import Explanation
from eegzarr.build.inspect import Inspection, inspect
from eegzarr.build.labels import subject_labels
from eegzarr.build.plan import Plan, channel_names, joined_windows, target_columns
from eegzarr.build.target import targets_of
from eegzarr.recipes.classes import names_of
from eegzarr.recipes.recipe import Recipe
from eegzarr.recipes.unused import unnamed_notes, unused_notes
from eegzarr.recipes.windows import WITHOUT_A_PLACE

_ROLES = ("trial_start", "stimulus", "response", "end")


def check_recipe(source: str, recipe: Recipe) -> Explanation:
    """Return what a recipe finds in a dataset, from headers and events alone; nothing is written.

    Raises
    ------
    SourceError, RecipeError
        If the source or the recipe is invalid.
    """
    found = named_source(source, recipe, None)
    check_target(recipe, found)
    return explain([inspect(found.root, recording, recipe) for recording in found.recordings], recipe, found)


def explain_plan(plan: Plan) -> Explanation:
    """Return why a plan has the windows that it has."""
    columns = target_columns(plan.windows, plan.subjects)
    return _explained(plan.inspections, plan.recipe, _class_counts(plan.recipe, columns, plan.subjects.given))


def explain(inspections: list[Inspection], recipe: Recipe, source: Source) -> Explanation:
    """Return why a recipe's inspections have the windows that they have.

    Raises
    ------
    RecipeError
        If the target can't be computed.
    """
    classes: dict[str, dict[str, int]] = {}
    if any(inspection.n_windows for inspection in inspections):
        windows = joined_windows(tuple(inspections), recipe)
        subjects = subject_labels(source, [inspection.recording for inspection in inspections], recipe)
        classes = _class_counts(recipe, target_columns(windows, subjects), subjects.given)
    return _explained(inspections, recipe, classes)


def _class_counts(
    recipe: Recipe, columns: Mapping[str, npt.NDArray], given: Mapping[str, str]
) -> dict[str, dict[str, int]]:
    counts = {}
    for name, target in targets_of(recipe, columns, given).items():
        if target.attributes:
            classes = dict(enumerate(target.attributes["classes"]))
            found = Counter(names_of(target.values, classes).tolist())
            counts[name] = {kind: found[kind] for kind in (*classes.values(), "") if kind or found[kind]}
    return counts


def _explained(
    inspections: Iterable[Inspection], recipe: Recipe, classes: Mapping[str, Mapping[str, int]]
) -> Explanation:
    inspections = list(inspections)
    left_out: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    found: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for one in inspections:
        left_out += one.left_out
        found += one.found
        reasons = [*one.left_out, *([WITHOUT_A_PLACE] if one.dropped else []), *([one.reason] if one.reason else [])]
        skipped[one.reason] += bool(one.reason)
        for reason in reasons:
            examples.setdefault(reason, one.recording.path)
    use, names = _uses(recipe), channel_names(one.header for one in inspections)
    return Explanation(
        noun=recipe.noun,
        windows=sum(one.n_windows for one in inspections),
        built=sum(one.n_windows > 0 for one in inspections),
        recordings=len(inspections),
        values=tuple((value, count, use(value)) for value, count in found.most_common()),
        classes=classes,
        dropped=sum(one.dropped for one in inspections),
        left_out=left_out,
        skipped=+skipped,
        examples=examples,
        unused=(*unused_notes(recipe, found), *unnamed_notes(recipe, *names)),
    )


def _uses(recipe: Recipe) -> Callable[[str], str]:
    """Return the class of an event value, the label that it counts for, or its part in a trial."""
    rules = recipe.events
    if recipe.anchor in ("event", "interval"):
        class_of = rules.class_of
        return lambda value: class_of.get(value, "") if class_of else value
    if recipe.labels:
        labels = {value: label.name for label in reversed(recipe.labels) for value in label.values}
        return lambda value: labels.get(value, "")
    roles = {value: role.replace("_", " ") for role in reversed(_ROLES) for value in getattr(rules, role)}
    return lambda value: roles.get(value, "")
