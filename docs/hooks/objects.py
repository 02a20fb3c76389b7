"""A page for each public object, and links to these from wherever a page names one.

docs/reference/python.md lists the objects: ``::: PLACE``. Each becomes a row of a table, with a page of its own;
a directive with options stays where it is. A name in code, anywhere on the site, links to its page, or to the
documentation of the project that it belongs to.
"""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from html import escape, unescape
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from eegzarr import errors, events

_LIST = Path(__file__).parents[1] / "reference" / "python.md"
_ELSEWHERE = Path(__file__).with_name("elsewhere.toml")
_FOLDER = "reference/api"
# Where users import from: the first that has an object is shown.
_PACKAGES = ("eegzarr", "eegzarr.stream", "eegzarr.train")
# Not those that have options.
_DIRECTIVE = re.compile(r"(?m)^::: (\S+)$(?!\n +options)")
_BLOCK = re.compile(r"(?m)(?:^::: \S+$(?!\n +options)\n*)+")
# Links and headings stay as they are; the third kind may get a link.
_CODE = re.compile(
    r"<a\b.*?</a>|<h[1-6]\b.*?</h[1-6]>|<autoref\b.*?</autoref>|<pre\b.*?</pre>|<code>(?P<name>[\w.]+)(?:\(\))?</code>",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """An object of the reference: where it is defined, and where users import it from."""

    place: str
    section: str

    @property
    def name(self) -> str:
        return self.place.rpartition(".")[2]

    @property
    def page(self) -> str:
        # With the package: names may differ in case alone, which some file systems don't see.
        return f"{_FOLDER}/{self.package}.{self.name}.md"

    @property
    def package(self) -> str:
        module = self.place.rpartition(".")[0]
        packages = (
            package
            for package in _PACKAGES
            if self.name in import_module(package).__all__
        )
        return next(packages, module)

    @property
    def summary(self) -> str:
        """First sentence of its docstring: its module isn't imported, which may need what isn't installed."""
        module = find_spec(self.place.rpartition(".")[0])
        assert module is not None
        assert module.origin is not None
        for node in ast.parse(Path(module.origin).read_text("utf8")).body:
            if (
                isinstance(node, ast.ClassDef | ast.FunctionDef)
                and node.name == self.name
            ):
                told = (ast.get_docstring(node) or "").partition("\n\n")[0]
                return (
                    told.replace("\n", " ").replace("``", "`").replace("|", "/")
                )
        raise LookupError(f"{self.place}, which {_LIST} lists, isn't there")


@lru_cache
def listed() -> tuple[Listed, ...]:
    """Return the objects of the reference, in its order."""
    found: list[Listed] = []
    for part in re.split(r"(?m)^## ", _LIST.read_text("utf8"))[1:]:
        section = part.partition("\n")[0]
        found += [
            Listed(place=match[1], section=section)
            for match in _DIRECTIVE.finditer(part)
        ]
    return tuple(found)


def on_config(config: Any, **_: Any) -> Any:
    """Put a page for each object into the navigation (called by MkDocs)."""
    by_section: dict[str, list[dict[str, str]]] = {}
    for one in listed():
        by_section.setdefault(one.section, []).append({one.name: one.page})
    reference = next(
        entry["Reference"] for entry in config.nav if "Reference" in entry
    )
    place = next(
        index for index, entry in enumerate(reference) if "Python" in entry
    )
    reference[place] = {
        "Python": [
            "reference/python.md",
            *({name: pages} for name, pages in by_section.items()),
        ]
    }
    return config


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Make the pages (called by MkDocs)."""
    for one in listed():
        text = f"---\ntitle: {one.name}\n---\n\n::: {one.place}\n    options:\n      heading_level: 1\n"
        files.append(File.generated(config, one.page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make tables of the list of objects (called by MkDocs)."""
    if page.file.src_uri != "reference/python.md":
        return markdown
    rows = {
        one.place: f"| [`{one.name}`]({one.page.removeprefix('reference/')}) | {one.summary} |"
        for one in listed()
    }

    def table(block: re.Match[str]) -> str:
        listed_here = [
            rows[match[1]] for match in _DIRECTIVE.finditer(block[0])
        ]
        return "\n".join(
            ["| object | what it is |", "|---|---|", *listed_here, "", ""]
        )

    return _BLOCK.sub(table, markdown)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Link names in code to what they name (called by MkDocs)."""
    names, own = _names(), ""
    for one in listed():
        if one.page == page.file.src_uri:
            own = one.place
            shown = f"<p><code>from {one.package} import {one.name}</code></p>"
            html = html.replace("</h1>", f"</h1>\n{shown}", 1)

    def linked(match: re.Match[str]) -> str:
        place = names.get(unescape(match["name"] or ""))
        if place is None or place == own:
            return match[0]
        return f'<autoref optional identifier="{escape(place)}">{match[0]}</autoref>'

    return _CODE.sub(linked, html)


def on_env(env: Any, config: Any, **_: Any) -> Any:
    """Say where other projects' objects are documented (called by MkDocs)."""
    for place, url in _elsewhere().items():
        config.plugins["autorefs"].register_url(place, url)
    return env


@lru_cache
def _names() -> dict[str, str]:
    """Return what a page may call an object, to where that is documented."""
    found = {name: name for name in _elsewhere()} | tomllib.loads(
        _ELSEWHERE.read_text("utf8")
    )["names"]
    for one in listed():
        found |= {one.place: one.place, f"{one.package}.{one.name}": one.place}
        if (
            "_" in one.name or not one.name.islower()
        ):  # fit and score are words, too
            found[one.name] = one.place
    for module in (errors, events):
        found |= {
            name: f"{module.__name__}.{name}"
            for name, thing in vars(module).items()
            if inspect.isclass(thing) and thing.__module__ == module.__name__
        }
    return found


@lru_cache
def _elsewhere() -> dict[str, str]:
    sites = tomllib.loads(_ELSEWHERE.read_text("utf8"))
    del sites["names"]
    return {
        name: site["page"].format(name)
        for site in sites.values()
        for name in site["objects"]
    }
