"""Plain English: phrases that readers stumbled over don't come back to pages, messages and docstrings.

`make lint` looks for misspelt words; this looks for what is spelt right and reads wrong. To use a phrase in its
plain sense, find another wording.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for page in [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
    if "generated" not in page.parts and page.name != "CHANGELOG.md"
)
MODULES = sorted((ROOT / "eegzarr").rglob("*.py"))

# What reads oddly, and a plainer wording.
STUMBLES = {
    r"\b(is|are|was|were) told\b": "the report lists, the build prints",
    r"\btells (it|them|so|you|more|the|what|why|how|whether|which)\b": "says, shows, lists, see",
    r", tells\b": "see",
    r"\b(goes|going) on\b": "resumes, continues",
    r"\bgo on (with|from|where|after|in)\b": "resume, continue",
    r"\bsaid so\b": "with a message",
    r"\bas memory goes\b": "memory permitting",
    r"\ba core each\b": "one per core",
    r"\b(held|hold|holds) \S+ (\S+ )?against\b": "compare with",
    r"\bheld against\b": "compared with",
    r"\b(stands?|lies?|lay) there\b": "is there",
    r"\bas (it|they) stand(s)?\b": "unchanged",
    r"\banew\b": "again",
    r"\bfor good\b": "for ever",
    r"\bwithout a word\b": "silently",
    r"\bin the manner of\b": "like",
    r"\bnobody knows\b": "unknown",
    r"\bone's own\b": "your own",
    r"\bthat can't be[.,;:|]": "invalid",
    r"\bas (any|every) other": "like any other",
    r"\bleads nowhere\b": "broken",
    r"\b(one|a) (row|line|file|task|chunk|card|run|bar) an? (window|recording|subject|event|trial|epoch|fold)\b": "per",
    r"\bcan't be told\b": "is unknown",
    r"\bnot to be used\b": "don't use",
    r"\bknows? nothing of\b": "doesn't support",
    r"\bin each other\b": "overlap",
    r"\blast(s)? no time\b": "without a duration",
    r"\bon the way back\b": "in the reverse order",
}
# A test holds this reason of the table of recordings, which lakes have stored.
STORED = re.compile(r"the link leads nowhere")


def stumbles(text: str) -> list[str]:
    text = STORED.sub("", " ".join(text.split()))
    return [
        f"{found[0]!r} (better: {plainer})"
        for pattern, plainer in STUMBLES.items()
        for found in re.finditer(pattern, text, re.IGNORECASE)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_reads_plainly(page: Path) -> None:
    assert not stumbles(page.read_text(encoding="utf8"))


def messages(module: Path) -> list[str]:
    """Return the texts of a module that people can see: those that are raised or printed, and commands' help."""
    shown: list[str] = []
    for node in ast.walk(ast.parse(module.read_text(encoding="utf8"))):
        is_printed = isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "Noticed"}
        if isinstance(node, ast.Raise) or is_printed:
            parts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            shown.append(" … ".join(part for part in parts if isinstance(part, str)))
    return shown


def test_messages_read_plainly() -> None:
    odd = {module.relative_to(ROOT).as_posix(): stumbles("\n".join(messages(module))) for module in MODULES}
    assert not {module: found for module, found in odd.items() if found}


def docstrings(module: Path) -> list[str]:
    nodes = ast.walk(ast.parse(module.read_text(encoding="utf8")))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [ast.get_docstring(node) or "" for node in nodes if isinstance(node, kinds)]


def test_docstrings_read_plainly() -> None:
    odd = {module.relative_to(ROOT).as_posix(): stumbles("\n".join(docstrings(module))) for module in MODULES}
    assert not {module: found for module, found in odd.items() if found}


def test_commit_hashes_are_in_the_benchmarks_alone() -> None:
    pages = [page for page in PAGES if page.stem != "benchmarks" and "measured" not in page.parts]
    hashes = {
        page.name: found
        for page in pages
        if (found := re.findall(r"\bat ([0-9a-f]{7,})\b|`([0-9a-f]{7,40})`", page.read_text(encoding="utf8")))
    }
    assert not hashes
