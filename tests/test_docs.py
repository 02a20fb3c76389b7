"""The documentation: it builds without a warning, what it tells to type exists, and its tutorials run.

A block that runs has the line ``<!-- run -->`` above it, or ``<!-- run with MODULE -->`` where it needs a
module that need not be installed. The blocks of a page run in their order, in one folder, as a reader
would: those in Python share their names.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import inspect
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

from eegzarr.command import COMMANDS
from eegzarr.recipes.load import load_recipe
from eegzarr.store.layout import LABELS

pytestmark = pytest.mark.needs("mkdocs", "torch")

ROOT = Path(__file__).parents[1]
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if "generated" not in page.parts)
READ_FIRST = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
# The page that makes the sample and the lake; all others begin where it has them.
BUILDS_THE_SAMPLE = "workstation.md"
LIMIT = 120  # s for a block
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_BLOCK = re.compile(
    r"^(?P<run><!-- run(?: with (?P<module>\S+))? -->\n)?```(?P<language>bash|python|toml)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# A command of eegzarr, and its options.
_COMMAND = re.compile(r"(?:python -m eegzarr\.|^(?:srun )?eegzarr )([a-z.]+)([^|;&]*)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of code in a page, and the line at which its code begins."""

    page: Path
    line: int
    language: str
    code: str
    runs: bool
    module: str | None

    @property
    def is_possible(self) -> bool:
        return self.module is None or is_installed(self.module)

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it would be in
        return False


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf8")
    return [
        Block(
            page=page,
            line=text.count("\n", 0, match.start("code")) + 1,
            language=match["language"],
            code=match["code"],
            runs=match["run"] is not None,
            module=match["module"],
        )
        for match in _BLOCK.finditer(text)
    ]


ALL_BLOCKS = [block for page in READ_FIRST for block in blocks_of(page)]
RUNNING_PAGES = sorted({block.page for block in ALL_BLOCKS if block.runs})


@pytest.mark.parametrize("page", RUNNING_PAGES, ids=lambda page: page.stem)
def test_a_page_runs_as_it_is_printed(
    page: Path, sample_root: Path, sample_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if page.name != BUILDS_THE_SAMPLE:
        shutil.copytree(sample_root, tmp_path / "demo" / "sample")
        shutil.copytree(sample_lake, tmp_path / "demo" / "lake.zarr")
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if not (block.runs and block.is_possible):
            continue
        if block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)
        elif block.language == "toml":
            (tmp_path / file_named_in(block)).write_text(block.code, encoding="utf8")
        elif (commands := own_commands(block)) is not None:
            for command in commands:
                assert run_here(command) == 0, f"{block}: {' '.join(command)}"
        else:
            run_in_bash(block)


def file_named_in(block: Block) -> str:
    """A file's first line is a comment with its name."""
    named = re.match(r"# (\S+\.toml)", block.code)
    assert named, f"{block} should begin with a comment that names the file"
    return named[1]


def own_commands(block: Block) -> list[list[str]] | None:
    """The commands of a block of nothing but ``python -m eegzarr.…`` and ``eegzarr …``, None for any other.

    `run_here` saves them the seconds of importing MNE and PyTorch.
    """
    lines = [shlex.split(line, comments=True) for line in block.code.replace("\\\n", " ").splitlines()]
    lines = [words for words in lines if words]
    commands = []
    for words in lines:
        match words:
            case ["python", "-m", module, *rest] if module.startswith("eegzarr."):
                commands.append([module.removeprefix("eegzarr."), *rest])
            case ["eegzarr", command, *rest]:
                commands.append([command, *rest])
            case _:
                return None
    return commands


def run_here(command: list[str]) -> int:
    main = importlib.import_module(module_of(command[0])).main
    handler = signal.getsignal(signal.SIGTERM)  # commands set it for the rest of their process
    try:
        return int(main(command[1:]))
    finally:
        signal.signal(signal.SIGTERM, handler)


def module_of(command: str) -> str:
    return COMMANDS[command].module if command in COMMANDS else f"eegzarr.{command}"


def run_in_bash(block: Block) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", block.code],
        env={**os.environ, "PATH": path, "MPLBACKEND": "agg"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        told, _ = process.communicate(timeout=LIMIT)
    finally:
        # What a block leaves in the background must not outlive it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, f"{block} exits with {process.returncode}:\n{told}"


def test_tutorials_and_recipes_run() -> None:
    wanted = {*(ROOT / "docs" / "tutorials").glob("*.md"), ROOT / "docs" / "howto" / "dataset.md", ROOT / "README.md"}
    assert wanted <= set(RUNNING_PAGES)


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.language == "toml"], ids=str)
def test_every_recipe_loads(block: Block, tmp_path: Path) -> None:
    path = tmp_path / file_named_in(block)
    path.write_text(block.code, encoding="utf8")
    assert load_recipe(str(path)).name == path.stem


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if not block.runs], ids=str)
def test_a_block_that_is_only_read_is_well_formed(block: Block) -> None:
    if block.language == "python":
        compile(block.code, str(block), "exec")
    elif block.language == "bash":
        checked = subprocess.run(["bash", "-n"], input=block.code, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, f"{block}: {checked.stderr}"


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if _COMMAND.search(block.code)], ids=str)
def test_every_option_that_is_told_exists(block: Block) -> None:
    if not block.is_possible:
        pytest.skip(f"{block.module} isn't installed")
    for line in re.sub(r"#.*", "", block.code).replace("\\\n", " ").splitlines():
        for command in _COMMAND.finditer(line):
            told = {word.partition("=")[0] for word in command[2].split() if word.startswith("--")}
            assert told <= options_of(command[1]), f"{block}: {line.strip()}"


@lru_cache
def options_of(command: str) -> frozenset[str]:
    """The options that a command's help names."""
    module = importlib.import_module(module_of(command))
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        assert module.main(["--help"]) == 0
    return frozenset(re.findall(r"--[a-z0-9][a-z0-9-]*", told.getvalue()))


def test_signatures_show_values_not_names() -> None:
    """Of every object of the reference: its reader needs the number, not the name that our code has for it."""
    places = re.findall(
        r"(?m)^::: (\S+)$(?!\n +options)", (ROOT / "docs" / "reference" / "python.md").read_text("utf8")
    )
    unreadable = {}
    for place in places:
        module, _, name = place.rpartition(".")
        definition = ast.parse(inspect.getsource(getattr(importlib.import_module(module), name))).body[0]
        assert isinstance(definition, ast.ClassDef | ast.FunctionDef)
        for function in [definition, *definition.body]:
            if isinstance(function, ast.FunctionDef) and is_shown(function.name):
                arguments = function.args
                defaults = [*arguments.defaults, *filter(None, arguments.kw_defaults)]
                odd = [ast.unparse(default) for default in defaults if not is_literal(default)]
                shown = " ".join(map(ast.unparse, filter(None, [arguments, function.returns])))
                odd += re.findall(r"(?<![\w.])_[A-Za-z]\w*", shown)
                if odd:
                    unreadable[f"{place}.{function.name}"] = odd
    assert len(places) > 40
    assert not unreadable


def is_shown(name: str) -> bool:
    return name == "__init__" or name[0] != "_"


def is_literal(default: ast.expr) -> bool:
    try:
        ast.literal_eval(default)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("label", LABELS)
def test_the_format_tells_every_label(label: str) -> None:
    dtype, units, _ = LABELS[label]
    page = (ROOT / "docs" / "format.md").read_text(encoding="utf8")
    row = re.search(rf"^\| `{label}` \| (\S+) \| *(\S*) *\|", page, re.MULTILINE)
    assert row, f"docs/format.md has no row for {label}"
    assert row.groups() == ("string" if dtype == "str" else dtype, units)


# 45 s of processor time where the gallery's scripts have changed: two networks are trained.
@pytest.mark.timeout(900)
def test_the_site_builds_without_a_warning_and_needs_no_network(tmp_path: Path) -> None:
    site = tmp_path / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "WARNING" not in built.stdout + built.stderr
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r"""<(?:script|img|link|iframe)[^>]*\s(?:src|href)=["']?(https?:[^"' >]+)""", page.read_text()
        )
        assert not loaded, f"{page.relative_to(site)} loads {loaded}"
    reference = {page.stem: page.read_text("utf8") for page in (site / "reference" / "api").glob("*.html")}
    modules = [importlib.import_module(name) for name in ("eegzarr", "eegzarr.stream", "eegzarr.train")]
    public = {name for module in modules for name in module.__all__ if name[0] != "_"}
    assert public <= {page.rpartition(".")[2] for page in reference}
    opened = reference["eegzarr.open_windows"]
    assert 'href="https://docs.xarray.dev/en/stable/generated/xarray.Dataset.html"' in opened  # in its signature
    assert 'href="../python.html#eegzarr.errors.LakeError"' in opened
    how_to = (site / "howto/resume.html").read_text("utf8")
    assert 'href="../reference/api/eegzarr.stream.WindowStream.html' in how_to
    if CHROMIUM is not None:
        for name in ("recipes.html", "reference/commands.html"):
            for width in (1280, 500):  # Chromium's windows aren't narrower
                assert blocks_cut_off(site / name, width) == 0


# Counts the blocks of code that are wider than their place, once the page has been laid out.
_COUNT = """<script>addEventListener("load", () => setTimeout(() => {
  const blocks = [...document.querySelectorAll("pre > code")];
  document.title = `cut off: ${blocks.filter((code) => code.scrollWidth > code.clientWidth + 1).length}`;
}, 300))</script>"""


def blocks_cut_off(page: Path, width: int) -> int:
    """Return how many blocks of code a browser of a width in px doesn't show whole."""
    copy = page.with_name(f"measured-{page.name}")
    copy.write_text(page.read_text("utf8").replace("</body>", f"{_COUNT}</body>"), "utf8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]
    shown = subprocess.run(
        [str(CHROMIUM), *flags, f"--window-size={width},900", copy.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = re.search(r"<title>cut off: (\d+)</title>", shown.stdout)
    assert found, "the browser has not laid the page out"
    return int(found[1])
