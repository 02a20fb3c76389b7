"""Windows of any recipe, cut from a lake's whole recordings: ``eegzarr.cut(lake, recipe)``.

The package is that function, too: ``python -m eegzarr.cut`` and ``eegzarr.cut(…)`` share a name.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """A module that is called like the function that it is named after."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from eegzarr.cut.api import cut

        return cut(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
