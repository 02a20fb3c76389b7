"""Show what a recipe finds in a dataset: ``python -m eegzarr.recipe check RECIPE --source DIR``."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from eegzarr.cli.run import Command
from eegzarr.errors import UsageError
from eegzarr.recipes.load import FILES, PRESETS, load_recipe


def recipe(
    action: Annotated[Literal["check", "list"], Parameter(name="ACTION")],
    name: Annotated[str, Parameter(name="RECIPE")] = "",
    /,
    *,
    source: Annotated[str, Parameter(metavar="DIR|URL")] = "",
) -> int:
    """Show what a recipe finds in a dataset, without building anything.

    Prints how many windows of each class there would be, which values the events have and which of them the recipe
    uses, and an example for each reason why windows are missing. Only headers and events are read.

    Parameters
    ----------
    action
        check, or list for the names of all recipes.
    name
        A name or a .toml file.
    source
        A BIDS dataset. Without one the recipe itself is checked.
    """
    if action == "list":
        print("\n".join([*PRESETS, *FILES]))
        return 0
    if not name:
        raise UsageError("name the recipe to check, as in eegzarr recipe check RECIPE.toml --source DIR")
    made = load_recipe(name)
    print(f"{made.name}: windows of {made.n_times} samples at {made.sfreq:g} Hz, anchor {made.anchor}")
    if not source:
        return 0
    from eegzarr.build.foreseen.explain import check_recipe
    from eegzarr.build.foreseen.lines import lines_of

    found = check_recipe(source, made)
    print(f"  {found.windows:,} windows from {found.built:,} of {found.recordings:,} recordings")
    for line in lines_of(found):
        print(f"  {line}")
    return 0 if found.windows else 1


main = Command("eegzarr.recipe", recipe, usage="check RECIPE --source DIR | list", again="")

if __name__ == "__main__":
    raise SystemExit(main())
