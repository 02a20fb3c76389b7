"""eegzarr: EEG recordings to training, out of core.

The public names below load on first use, so that a worker process imports no more of the
library than its task needs.
"""

from typing import TYPE_CHECKING

from eegzarr.entrance import on_first_use
from eegzarr.registration import register_accessor

__version__ = "0.1.0"
register_accessor()

if TYPE_CHECKING:
    from eegzarr.build.api import build_lake
    from eegzarr.cut.api import cut
    from eegzarr.exchange.epochs import from_braindecode, from_mne
    from eegzarr.exchange.export import to_braindecode, to_mne
    from eegzarr.recipes.load import load_recipe
    from eegzarr.recipes.recipe import Recipe
    from eegzarr.store.open import open_windows
    from eegzarr.stream.splits import kfold_by_subject, split_by, split_by_release, split_by_session, split_by_subject
    from eegzarr.stream.stored import list_splits, open_split, store_split

_HOMES = {
    "Recipe": "eegzarr.recipes.recipe",
    "build_lake": "eegzarr.build.api",
    "cut": "eegzarr.cut.api",
    "from_braindecode": "eegzarr.exchange.epochs",
    "from_mne": "eegzarr.exchange.epochs",
    "kfold_by_subject": "eegzarr.stream.splits",
    "list_splits": "eegzarr.stream.stored",
    "load_recipe": "eegzarr.recipes.load",
    "open_split": "eegzarr.stream.stored",
    "open_windows": "eegzarr.store.open",
    "split_by": "eegzarr.stream.splits",
    "split_by_release": "eegzarr.stream.splits",
    "split_by_session": "eegzarr.stream.splits",
    "split_by_subject": "eegzarr.stream.splits",
    "store_split": "eegzarr.stream.stored",
    "to_braindecode": "eegzarr.exchange.export",
    "to_mne": "eegzarr.exchange.export",
}

__all__ = [
    "Recipe",
    "__version__",
    "build_lake",
    "cut",
    "from_braindecode",
    "from_mne",
    "kfold_by_subject",
    "list_splits",
    "load_recipe",
    "open_split",
    "open_windows",
    "split_by",
    "split_by_release",
    "split_by_session",
    "split_by_subject",
    "store_split",
    "to_braindecode",
    "to_mne",
]

__getattr__, __dir__ = on_first_use(__name__, _HOMES)
