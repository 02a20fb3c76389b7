"""Windows of any recipe, cut from a lake's whole recordings: ``eegzarr.cut(lake, recipe)``.

The package is that function, too: ``python -m eegzarr.cut`` and ``eegzarr.cut(…)`` share a name.
"""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import Any

from eegzarr.cut.api import cut as _cut


class _Callable(ModuleType):
    """A module that is called like the function that it is named after."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return _cut(*arguments, **options)


_module = sys.modules[__name__]
_module.__class__ = _Callable
_module.__doc__ = _cut.__doc__
_module.__signature__ = inspect.signature(_cut)  # type: ignore[attr-defined]
