"""What is done about what stands at a group's place: every case of it, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eegzarr.build.state import Asked, Found, Step, decide
from eegzarr.challenge.presets import CHALLENGE1
from eegzarr.recipes.recipe import Recipe, WindowSpan
from eegzarr.store.layout import Geometry

SHORTER: Recipe = replace(CHALLENGE1, span=WindowSpan(start=0.0, stop=1.0))
FLOAT32 = Geometry.of(129, 200)
FLOAT16 = Geometry.of(129, 200, "float16")
INT16 = Geometry.of(129, 200, "int16", step=0.1)
STORED = Geometry.of(129, 200, compression="none")
RECORDINGS = {"sub-1.bdf": "100:9:e1", "sub-2.bdf": "200:9:e2"}  # size, time stamp, events
COPIED = {"sub-1.bdf": "100:9:e1", "sub-2.bdf": "200:77:e2"}
AGES: Recipe = replace(CHALLENGE1, target="age")

BUILDING = Found(
    status="building",
    recipe=CHALLENGE1,
    geometry=FLOAT32,
    fingerprints=RECORDINGS,
    signals_digest="s",
    labels_digest="l",
)
COMPLETE = replace(BUILDING, status="complete")
LABELLING = replace(BUILDING, status="labelling")
OLD = replace(COMPLETE, signals_digest="", labels_digest="")  # of a version that knew one digest
ASKED = Asked(
    place="lake.zarr/challenge1/R1",
    source="/data/R1",
    recipe=CHALLENGE1,
    dtype="float32",
    compression="lz4",
    overwrite=False,
    fingerprints=RECORDINGS,
    labels_digest="l",
)
PLANNED = replace(ASKED, signals_digest="s")
GIVEN = replace(PLANNED, were_given=True)

CASES = {
    "nothing": (Found(), ASKED, Step.BEGIN, ""),
    "begun": (BUILDING, ASKED, Step.RESUME, ""),
    "begun, killed before its array": (replace(BUILDING, geometry=None), ASKED, Step.RESUME, ""),
    "begun, killed before its fingerprints": (replace(BUILDING, fingerprints=None), ASKED, Step.RESUME, ""),
    "finished": (COMPLETE, ASKED, Step.ALREADY, ""),
    "killed while finishing": (replace(COMPLETE, is_settled=False), ASKED, Step.SETTLE, ""),
    "killed while labelling": (LABELLING, ASKED, Step.RELABEL, ""),
    "other labels": (COMPLETE, replace(ASKED, labels_digest="L"), Step.RELABEL, ""),
    "other labels, not tidied up": (
        replace(COMPLETE, is_settled=False), replace(ASKED, labels_digest="L"), Step.RELABEL, "",
    ),
    "other labels, begun": (BUILDING, replace(ASKED, labels_digest="L"), Step.RESUME, ""),
    "another target": (COMPLETE, replace(ASKED, recipe=AGES, labels_digest="L"), Step.RELABEL, ""),
    "another target, begun": (BUILDING, replace(ASKED, recipe=AGES, labels_digest="L"), Step.RESUME, ""),
    "another target, planned": (COMPLETE, replace(PLANNED, recipe=AGES, labels_digest="L"), Step.RELABEL, ""),
    "other windows by another target's recipe": (
        COMPLETE, replace(PLANNED, recipe=AGES, labels_digest="L", signals_digest="S"), Step.REFUSE, "another recipe",
    ),
    "other windows by other events": (
        COMPLETE, replace(PLANNED, labels_digest="L", signals_digest="S"), Step.REFUSE, "its events have changed",
    ),
    "other windows by other events, begun": (
        BUILDING, replace(PLANNED, signals_digest="S"), Step.REFUSE, "its events have changed",
    ),
    "of an older version": (OLD, ASKED, Step.RELABEL, ""),
    "of an older version, planned": (OLD, PLANNED, Step.RELABEL, ""),
    "copied": (COMPLETE, replace(ASKED, fingerprints=COPIED), Step.RELABEL, ""),
    "copied, begun": (BUILDING, replace(ASKED, fingerprints=COPIED), Step.RESUME, ""),
    "copied, other content": (
        COMPLETE, replace(PLANNED, fingerprints=COPIED, altered=("sub-2.bdf",)), Step.REFUSE, "1 altered (sub-2.bdf)",
    ),
    "copied, other content, begun": (
        BUILDING, replace(PLANNED, fingerprints=COPIED, altered=("sub-2.bdf",)), Step.REFUSE, "1 altered (sub-2.bdf)",
    ),
    "another recipe": (replace(COMPLETE, recipe=SHORTER), ASKED, Step.REFUSE, "another recipe named challenge1"),
    "another recipe, begun": (replace(BUILDING, recipe=SHORTER), ASKED, Step.REFUSE, "another recipe"),
    "another type": (replace(COMPLETE, geometry=FLOAT16), ASKED, Step.REFUSE, "give --dtype float16"),
    "another type, begun": (replace(BUILDING, geometry=FLOAT16), ASKED, Step.REFUSE, "give --dtype float16"),
    "another step": (
        replace(COMPLETE, geometry=INT16), replace(ASKED, dtype="int16", step=0.05), Step.REFUSE, "give --step 0.1uV",
    ),
    "the step that it has": (
        replace(COMPLETE, geometry=INT16), replace(ASKED, dtype="int16", step=0.1), Step.ALREADY, "",
    ),
    "any step, begun": (
        replace(BUILDING, geometry=INT16), replace(ASKED, dtype="int16", step=None), Step.RESUME, "",
    ),
    "another compression": (replace(COMPLETE, geometry=STORED), ASKED, Step.REFUSE, "give --compression none"),
    "another format": (Found(status="complete", format="9"), ASKED, Step.REFUSE, "has the format 9"),
    "another format, begun": (Found(status="building", format="9"), ASKED, Step.REFUSE, "has the format 9"),
    "damaged": (Found(status="damaged", damage="zarr.json is damaged"), ASKED, Step.REFUSE, "zarr.json is damaged"),
    "filtered by another version, begun": (
        replace(BUILDING, prepared_with="MNE 1.10"), replace(ASKED, prepared_with="MNE 1.11"), Step.REFUSE, "MNE 1.10",
    ),
    "filtered by another version": (
        replace(COMPLETE, prepared_with="MNE 1.10"), replace(ASKED, prepared_with="MNE 1.11"), Step.ALREADY, "",
    ),
    "beside groups of another recipe": (Found(), replace(ASKED, clash="l_freq"), Step.REFUSE, "l_freq"),
    "a recording more": (
        COMPLETE, replace(ASKED, fingerprints={**RECORDINGS, "sub-3.bdf": "1:1:e"}), Step.REFUSE, "1 added (sub-3.bdf)",
    ),
    "a recording less": (
        COMPLETE, replace(ASKED, fingerprints={"sub-1.bdf": "100:9:e1"}), Step.REFUSE, "1 removed (sub-2.bdf)",
    ),
    "a recording of another size": (
        BUILDING, replace(ASKED, fingerprints={**RECORDINGS, "sub-2.bdf": "201:9:e2"}), Step.REFUSE, "1 altered",
    ),
    "given, begun": (BUILDING, GIVEN, Step.RESUME, ""),
    "given, finished": (COMPLETE, GIVEN, Step.ALREADY, ""),
    "given, other labels": (COMPLETE, replace(GIVEN, labels_digest="L"), Step.RELABEL, ""),
    "given, other content": (COMPLETE, replace(GIVEN, altered=("#0",)), Step.REFUSE, "holds other windows"),
    "given, other content, begun": (BUILDING, replace(GIVEN, altered=("#0",)), Step.REFUSE, "holds other windows"),
    "given, other windows": (COMPLETE, replace(GIVEN, signals_digest="S"), Step.REFUSE, "holds other windows"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_there_decides_what_is_done(case: str) -> None:
    found, asked, step, told = CASES[case]
    decision = decide(found, asked)
    assert decision.step is step
    assert told in decision.message
    assert bool(decision.message) is (step is Step.REFUSE)


@pytest.mark.parametrize("case", CASES)
def test_overwrite_drops_what_is_other_or_whole_and_resumes_what_was_begun_alike(case: str) -> None:
    found, asked, step, _ = CASES[case]
    overwritten = decide(found, replace(asked, overwrite=True))
    kept = {Step.BEGIN: Step.BEGIN, Step.RESUME: Step.RESUME}
    assert overwritten.step is (step if found.status == "nothing" else kept.get(step, Step.OVERWRITE))
