"""Every row of the table is equal to what MNE, mne-bids or the writer says, or refused with its reason."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from conformance.case import Case
from conformance.judge import Verdict, judge_all
from conformance.rows_bids import bids_rows
from conformance.rows_brainvision import brainvision_rows
from conformance.rows_edf import edf_rows
from conformance.rows_edf_headers import edf_header_rows
from conformance.rows_eeglab import eeglab_rows
from conformance.rows_fif import fif_rows
from conformance.rows_preparation import preparation_rows
from conformance.rows_tsv import tsv_rows

CASES = [
    *edf_header_rows(),
    *edf_rows(),
    *eeglab_rows(),
    *brainvision_rows(),
    *fif_rows(),
    *bids_rows(),
    *tsv_rows(),
    *preparation_rows(),
]


@pytest.fixture(scope="session")
def verdicts(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> dict[str, Verdict]:
    """What came of each row."""
    found = judge_all(CASES, tmp_path_factory.mktemp("rows"), scheduler)
    if report := os.environ.get("EEGZARR_CONFORMANCE"):
        Path(report).write_text(written(found))
    return found


def written(found: dict[str, Verdict]) -> str:
    """The table as Markdown: numbers by format, then each row."""
    lines = ["| format | equal | refused | wrong | crashed |", "|---|---|---|---|---|"]
    pairs = [(CASES[int(subject[1:])], verdict) for subject, verdict in found.items()]
    for kind in dict.fromkeys(case.format for case in CASES):
        counts = Counter(verdict.outcome for case, verdict in pairs if case.format == kind)
        lines.append(
            "| " + " | ".join([kind, *(str(counts[o]) for o in ("equal", "refused", "wrong", "crashed"))]) + " |"
        )
    lines += ["", "| format | input | expected | outcome | |", "|---|---|---|---|---|"]
    for case, verdict in sorted(pairs, key=lambda pair: (pair[0].format, pair[0].name)):
        cells = [case.format, case.name, case.expect, verdict.outcome, verdict.text.replace("\n", " ")]
        mark = "" if verdict.fits(case.expect) else "**"
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in [mark + cells[0], *cells[1:]]) + " |")
    return "\n".join(lines) + "\n"


def test_the_table_is_long_enough() -> None:
    assert len(CASES) >= 150
    assert len({(case.format, case.name, case.group) for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    "subject", [f"c{i:03d}" for i in range(len(CASES))], ids=[f"{c.format}-{c.name}" for c in CASES]
)
def test_a_row_is_right_or_refused_with_its_reason(subject: str, verdicts: dict[str, Verdict]) -> None:
    case: Case = CASES[int(subject[1:])]
    verdict = verdicts[subject]
    if case.known:
        assert not verdict.fits(case.expect), f"holds now: take known={case.known!r} away"
        return
    assert verdict.fits(case.expect), f"{case.format}, {case.name}: expected {case.expect}, got {verdict}"


def test_the_page_on_formats_quotes_reasons_that_are_given(verdicts: dict[str, Verdict]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "formats.md").read_text()
    quoted = re.findall(r"^\|[^|]*\| `([^`]+)` \|$", page.split("## What is refused")[1], re.MULTILINE)
    assert len(quoted) > 10
    told = [verdict.text for verdict in verdicts.values() if verdict.outcome == "refused"]
    for reason in quoted:
        pattern = ".*".join(re.escape(part) for part in reason.split("…"))
        assert any(re.search(pattern, text) for text in told), reason
