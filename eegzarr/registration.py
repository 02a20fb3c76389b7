"""Gives each Dataset ``.eegzarr`` as soon as xarray is there, without importing xarray for it.

Importing xarray takes half a second, and ``eegzarr --help`` needs none of it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from types import ModuleType


def register_accessor() -> None:
    """Register the accessor now if xarray is imported, else right after its import."""
    if "xarray" in sys.modules:
        import eegzarr.accessor  # noqa: F401  # registers itself
    elif not any(isinstance(finder, _XarrayFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _XarrayFinder())


class _XarrayFinder(importlib.abc.MetaPathFinder):
    """Finds xarray once, as Python would, with a loader that registers the accessor."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "xarray":
            return None
        sys.meta_path.remove(self)  # so that the search below is Python's own
        spec = find_spec("xarray")
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenRegister(spec.loader)
        return spec


class _ThenRegister(importlib.abc.Loader):
    """Loads as another loader does, then registers the accessor."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        self.loader.exec_module(module)
        import eegzarr.accessor  # noqa: F401
