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
STORED = Geometry.of(129, 200, compression="none")
RECORDINGS = {"sub-1.bdf": "a", "sub-2.bdf": "b"}

BUILDING = Found(status="building", recipe=CHALLENGE1, geometry=FLOAT32, fingerprints=RECORDINGS, plan_digest="1")
COMPLETE = replace(BUILDING, status="complete")
ASKED = Asked(
    place="lake.zarr/challenge1/R1",
    source="/data/R1",
    recipe=CHALLENGE1,
    dtype="float32",
    compression="lz4",
    overwrite=False,
    fingerprints=RECORDINGS,
)
GIVEN = replace(ASKED, fingerprints=None, plan_digest="1")

CASES = {
    "nothing": (Found(), ASKED, Step.BEGIN, ""),
    "begun": (BUILDING, ASKED, Step.RESUME, ""),
    "begun, killed before its array": (replace(BUILDING, geometry=None), ASKED, Step.RESUME, ""),
    "begun, killed before its fingerprints": (replace(BUILDING, fingerprints=None), ASKED, Step.RESUME, ""),
    "finished": (COMPLETE, ASKED, Step.ALREADY, ""),
    "killed while finishing": (replace(COMPLETE, is_settled=False), ASKED, Step.SETTLE, ""),
    "another recipe": (replace(COMPLETE, recipe=SHORTER), ASKED, Step.REFUSE, "another recipe named challenge1"),
    "another recipe, begun": (replace(BUILDING, recipe=SHORTER), ASKED, Step.REFUSE, "another recipe"),
    "another type": (replace(COMPLETE, geometry=FLOAT16), ASKED, Step.REFUSE, "give --dtype float16"),
    "another type, begun": (replace(BUILDING, geometry=FLOAT16), ASKED, Step.REFUSE, "give --dtype float16"),
    "another compression": (replace(COMPLETE, geometry=STORED), ASKED, Step.REFUSE, "give --compression none"),
    "another format": (Found(status="complete", format="9"), ASKED, Step.REFUSE, "has the format 9"),
    "another format, begun": (Found(status="building", format="9"), ASKED, Step.REFUSE, "has the format 9"),
    "damaged": (Found(status="damaged", damage="zarr.json is damaged"), ASKED, Step.REFUSE, "zarr.json is damaged"),
    "a recording more": (
        COMPLETE, replace(ASKED, fingerprints={**RECORDINGS, "sub-3.bdf": "c"}), Step.REFUSE, "1 added (sub-3.bdf)",
    ),
    "a recording less": (
        COMPLETE, replace(ASKED, fingerprints={"sub-1.bdf": "a"}), Step.REFUSE, "1 removed (sub-2.bdf)",
    ),
    "a recording that changed": (
        BUILDING, replace(ASKED, fingerprints={**RECORDINGS, "sub-2.bdf": "B"}), Step.REFUSE, "1 altered (sub-2.bdf)",
    ),
    "given, begun": (BUILDING, GIVEN, Step.RESUME, ""),
    "given, finished": (COMPLETE, GIVEN, Step.ALREADY, ""),
    "given, other windows": (COMPLETE, replace(GIVEN, plan_digest="2"), Step.REFUSE, "holds other windows"),
    "given, other windows, begun": (BUILDING, replace(GIVEN, plan_digest="2"), Step.REFUSE, "holds other windows"),
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
    assert overwritten.step is kept.get(step, Step.OVERWRITE)
    assert not overwritten.message
