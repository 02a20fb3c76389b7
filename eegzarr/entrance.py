"""Public names of a package that load on first use: importing the package alone imports nothing heavy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from importlib import import_module
from typing import Any

from eegzarr.extras import needs


def on_first_use(
    package: str, homes: Mapping[str, str], *, extra: str | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__``.

    Parameters
    ----------
    package : str
        Its ``__name__``; its ``__all__`` has all public names.
    homes : mapping of str to str
        Names that load on first use, and the modules that they are in.
    extra : str, optional
        What must be installed for them: see `eegzarr.extras`.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with nullcontext() if extra is None else needs(extra, f"{package}.{name}"):
            return getattr(import_module(homes[name]), name)

    def public() -> list[str]:
        return sorted(sys.modules[package].__all__)

    return load, public
