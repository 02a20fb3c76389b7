"""The dry run, the summary of the build and ``info`` count the same, and describe it in the same words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import eegzarr
from conformance.case import POINTER, Place
from conformance.edf_bytes import Edf
from conformance.judge import RECIPES
from eegzarr.build.__main__ import describe, describe_forecast
from eegzarr.build.api import forecast
from eegzarr.store.describe import describe_lake
from eegzarr.watch.tables import print_tables

_RECIPE = replace(RECIPES["events"], require=("stimulus_onset", "response_onset"))
_EVENTS = {
    "whole": "1\t0\tgo\n1.4\t0\tpress\n3\t0\tgo\n3.4\t0\tpress\n",
    "late": "7.5\t0\tgo\n7.7\t0\tpress\nn/a\t0\tgo\n2\t0\tgo\n2.2\t0\tpress\n",
    "silent": "1\t0\tgo\n4\t0\tgo\n4.4\t0\tpress\n",
    "others": "1\t0\twalk\n",
    "unknown": "1\t0\tgo\n1.4\t0\tpress\n",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People of whom something is missing, each in another way."""
    folder = tmp_path_factory.mktemp("counts") / "study"
    for number, (subject, rows) in enumerate(_EVENTS.items()):
        place = Place(folder, subject)
        Edf().write(place.file("_eeg.edf"), number)
        place.file("_events.tsv").write_text("onset\tduration\tvalue\n" + rows)
    Place(folder, "pointer").file("_eeg.edf").write_bytes(POINTER)
    Place(folder, "twice").file("_eeg.edf").symlink_to("nowhere")
    Edf().write(Place(folder, "two").file("_eeg.edf"))
    people = [
        *(f"sub-{name}\t{7 + i}" for i, name in enumerate(_EVENTS) if name != "unknown"),
        "sub-two\t5",
        "sub-two\t6",
    ]
    (folder / "participants.tsv").write_text("\n".join(["participant_id\tage", *people]) + "\n")
    return folder


def test_dry_run_build_and_info_count_the_same(
    root: Path, tmp_path: Path, scheduler: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake.zarr"
    foreseen = forecast(root, lake, recipe=_RECIPE, scheduler=scheduler)
    built = eegzarr.build_lake(root, lake, recipe=_RECIPE, scheduler=scheduler)
    (shown,) = describe_lake(lake)
    for name in ("windows", "subjects", "recordings", "dropped"):
        assert getattr(foreseen, name) == getattr(built, name) == getattr(shown, name), name
    assert foreseen.built == built.built
    assert foreseen.left_out == built.left_out == shown.left_out
    assert foreseen.reasons == built.reasons == shown.skipped
    assert (built.windows, built.dropped, sum(built.left_out.values())) == (5, 2, 1)
    assert sum(built.reasons.values()) == 5  # the pointer, the link, other events, two rows, no row
    print_tables(str(lake), [shown])
    texts = (describe_forecast(foreseen, str(lake)), describe(built, str(lake)), capsys.readouterr().out)
    for text in texts:
        words = " ".join(text.split())
        assert "2 trials left out: too near an end" in words
        assert "1 trial left out: the trial has no response_onset" in words
        for reason in built.reasons:
            assert " ".join(reason.split()) in words
    for text in texts[:2]:
        assert "5 of 8 recordings need a look" in text
