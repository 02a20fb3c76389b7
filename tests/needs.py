"""Which tests need a package that isn't installed: by what their modules and functions import, and by a marker.

`make test-matrix` has environments without PyTorch. A module that imports it at its top is left out as a whole, a test
that does is skipped; one that runs a command which needs it has the marker ``needs("torch")``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

# What some environments lack.
OPTIONAL = ("torch", "torchdata", "braindecode", "eegdash")


@lru_cache
def is_missing(package: str) -> bool:
    """Tell whether a package isn't installed."""
    return find_spec(package) is None


def missing_for_module(path: Path) -> list[str]:
    """Return the packages that a test module imports at its top and that aren't installed."""
    return _missing(_imported(_parsed(path).body))


def missing_for_test(path: Path, function: str) -> list[str]:
    """Return the packages that a test imports in its body and that aren't installed."""
    bodies = [node.body for node in _parsed(path).body if getattr(node, "name", None) == function]
    return _missing(name for body in bodies for part in body for name in _imported(ast.walk(part)))


@lru_cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf8"))


def _imported(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def _missing(imports: Iterable[tuple[str, str]]) -> list[str]:
    return sorted({package for names in imports if (package := _missing_for_import(*names))})


@lru_cache
def _missing_for_import(module: str, name: str) -> str:
    """Return the package that importing a module, or a name from it, asks for in vain, or ""."""
    own, _, _ = module.partition(".")
    if own in OPTIONAL:
        return own if is_missing(own) else ""
    if own == "eegzarr" and any(map(is_missing, OPTIONAL)):
        try:
            getattr(import_module(module), name, None) if name else import_module(module)
        except Exception as error:  # eegzarr's own, perhaps, which says what to install
            return _package_named_by(error)
    return ""


def _package_named_by(error: BaseException | None) -> str:
    while error is not None:
        name = (getattr(error, "name", None) or "").partition(".")[0]
        if isinstance(error, ImportError) and name in OPTIONAL:
            return name
        error = error.__cause__ or error.__context__
    return ""
