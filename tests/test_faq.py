"""The page of questions by message has messages that eegzarr really has; code on pages fits their width."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MESSAGES = re.findall(r"^```text\n(.*?)\n```$", (ROOT / "docs" / "faq.md").read_text("utf8"), re.MULTILINE | re.DOTALL)


def templates(module: Path) -> Iterator[str]:
    """Yield the texts of a module, with … in place of what is filled in."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf8"))):
        match node:
            case ast.JoinedStr(values=parts):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)
            case ast.Constant(value=str(text)):
                yield text


@pytest.fixture(scope="module")
def known() -> set[str]:
    return {text.strip() for module in (ROOT / "eegzarr").rglob("*.py") for text in templates(module)}


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 10


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message[:40])
def test_a_message_of_the_page_is_in_the_code(message: str, known: set[str]) -> None:
    assert message in known


_BLOCK = re.compile(r"^```(?:bash|sh|python|toml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COLUMNS = 80  # that a page shows at 1,280 px beside its menus


def test_code_fits_the_width_of_a_page() -> None:
    pages = [page for page in (ROOT / "docs").rglob("*.md") if not {"generated", "measured"} & set(page.parts)]
    long = {
        f"{page.relative_to(ROOT)}: {line}"
        for page in [*pages, ROOT / "README.md"]
        for block in _BLOCK.findall(page.read_text("utf8"))
        for line in block.splitlines()
        if len(line) > _COLUMNS
    }
    assert not long
