"""The house: rooms in one order, no circle, no long file, no crowded folder, no torch before the stream."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

import eegzarr
from eegzarr.command import COMMANDS
from eegzarr.errors import UsageError

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "eegzarr"
MODULES = {
    ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in PACKAGE.rglob("*.py")
}

# From the recordings to the picture, as data flow. A module belongs to the longest name that it begins with, and
# imports nothing that stands further down.
ROOMS = (
    ("amounts", "errors", "names", "notebook", "suggest"),
    ("extras", "entrance", "urls", "events"),
    ("machine",),
    ("store.kinds",),
    ("recipes", "challenge.rules", "challenge.presets", "challenge.releases"),
    ("bids",),
    ("recordings",),
    ("store",),
    ("build",),
    ("cut",),
    ("exchange",),
    ("stream",),
    ("challenge.score",),
    ("train",),
    ("challenge.submission",),
    ("sample",),
    ("watch",),
    ("pictures",),
    ("accessor", "cli"),
    # The commands, and the entrance: what they import is imported when it is needed.
    ("build.__main__", "convert", "cut.__main__", "recipe", "info", "monitor", "report", "sample.__main__", "verify"),
    ("train.arguments", "train.__main__", "train.ensemble", "train.search", "train.submission"),
    ("completion", "command", "registration", "__main__"),
)
RANKS = {f"eegzarr.{name}": rank for rank, names in enumerate(ROOMS) for name in names}


@cache
def imports(module: str) -> frozenset[str]:
    """The modules of eegzarr that a module imports, at its top or later; its own package's ``__init__`` aside."""
    return frozenset(_imports(module)) - {"eegzarr", module}


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in below)


def room_of(module: str) -> str:
    fitting = [name for name in RANKS if module == name or module.startswith(f"{name}.")]
    return max(fitting, key=len, default="")


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"eegzarr", "eegzarr.challenge"}))
def test_a_module_imports_only_what_comes_before_it(module: str) -> None:
    room = room_of(module)
    assert room, f"{module} is in no room: add it to ROOMS"
    later = {other for other in imports(module) if RANKS[room_of(other)] > RANKS[room] and room_of(other) != module}
    assert not later, f"{module} imports {', '.join(sorted(later))}, which come after it"


def test_imports_make_no_circle() -> None:
    lazy = {"eegzarr"}  # the package's entrance loads names on first use
    list(TopologicalSorter({module: imports(module) - lazy for module in MODULES if module not in lazy}).static_order())


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf8").splitlines()) <= 400


def test_no_folder_is_crowded() -> None:
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
        assert len(list(folder.glob("*.py"))) <= 25, folder


def test_nothing_before_the_stream_imports_torch() -> None:
    rooms = ("recipes", "bids", "recordings", "store", "build", "cut", "exchange", "machine", "sample")
    modules = [m for m in MODULES if m.split(".")[1:2] and m.split(".")[1] in rooms]
    code = f"import sys, importlib; [importlib.import_module(m) for m in {modules}]; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


def test_every_public_name_that_loads_on_first_use_is_there_and_listed() -> None:
    for package in ("eegzarr", "eegzarr.sample", "eegzarr.stream", "eegzarr.train"):
        module = importlib.import_module(package)
        homes = module._HOMES
        assert set(homes) == set(module.__all__) - {"__version__"}
        assert dir(module) == sorted(module.__all__)
        for name, home in homes.items():
            told = ""
            try:
                found = getattr(module, name)
                if isinstance(found, ModuleType):  # a command of the same name, which is called like the function
                    assert (found.__name__, callable(found)) == (f"{package}.{name}", True)
                else:
                    assert found is getattr(importlib.import_module(home), name)
            except (ImportError, UsageError) as error:
                told = str(error)
            assert not told or "pip install" in told, name
        with pytest.raises(AttributeError, match=f"'{package}' has no attribute 'nothing'"):
            _ = module.nothing


def test_the_package_says_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    recipe = (ROOT / "conda" / "recipe.yaml").read_text()
    conda_names = {"dask": "dask-core", "docstring-parser": "docstring_parser"}
    for dependency in project["dependencies"]:
        name, bound = re.fullmatch(r"([A-Za-z0-9_-]+)(.*)", dependency).groups()  # type: ignore[union-attr]
        assert re.search(rf"^    - {conda_names.get(name, name)} ?{re.escape(bound)}$", recipe, re.MULTILINE), (
            dependency
        )
    for text in (recipe, (ROOT / "CITATION.cff").read_text()):
        assert re.search(rf"^ *version: {re.escape(eegzarr.__version__)}$", text, re.MULTILINE)


def test_every_extra_is_told_by_its_packages() -> None:
    from eegzarr.extras import EXTRAS

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, packages in EXTRAS.items():
        named = " ".join(extras[extra])
        wider = named + "".join(" ".join(extras[name]) for name in re.findall(r"\w+", named) if name in extras)
        assert all(package in wider for package in packages), extra
    assert len(COMMANDS) == 14


def test_every_file_that_a_contributor_is_sent_to_exists() -> None:
    named = re.findall(r"`((?:eegzarr|tests|docs)/[\w/.]+)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_what_the_workflow_and_the_hooks_run_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
    assert set(re.findall(r"run: make ([a-z-]+)", workflow)) <= targets
    assert all(system in workflow for system in ("ubuntu", "macos", "windows"))
    lint = (ROOT / "Makefile").read_text()
    for program in re.findall(
        r"entry: \.venv/bin/(.+?)(?: --fix)?$", (ROOT / ".pre-commit-config.yaml").read_text(), re.M
    ):
        assert program in lint
