"""Datasets with a layout of their own, which are read as they come: Sleep-EDF, and the corpora of Temple University.

Pure functions of a dataset's list of files, except `is_known`. A dataset with ``sub-*`` folders is BIDS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pandas as pd

from eegzarr.bids.files import below
from eegzarr.bids.recordings import Recording

# SC4001E0-PSG.edf: study and subject, night, recorder; its hypnogram has another last letter, that of the scorer.
# See https://physionet.org/content/sleep-edfx/1.0.0.
_PSG = re.compile(r"(?P<subject>(?:SC4|ST7)\d\d)(?P<night>\d)(?P<recorder>[A-Z])\d-PSG\.edf", re.IGNORECASE)
_HYPNOGRAM = re.compile(r"(?P<stem>(?:SC4|ST7)\d{3}[A-Z])[A-Z0-9]-Hypnogram\.edf", re.IGNORECASE)
# abnormal/01_tcp_ar/aaaaaaaq_s004_t000.edf: patient, session, part; in TUAB below a folder normal or abnormal.
# See https://isip.piconepress.com/projects/nedc/html/tuh_eeg.
_TUH = re.compile(r"(?P<subject>[a-z]{8}|\d{8})_(?P<session>s\d{3})_t(?P<part>\d{3})\.edf")
_PATHOLOGY = ("normal", "abnormal")
_SUBSETS = ("train", "eval")
_MOST_LOOKED_AT = 20_000  # files, before a folder that has another layout is given up
KNOWN = "Sleep-EDF (SC4001E0-PSG.edf) and TUH (aaaaaaaq_s004_t000.edf)"


def is_known(root: Path) -> bool:
    """Return whether a folder on this machine has a recording of one of the layouts; not all of it is looked at."""
    return any(_matches(path) for path in islice(below(root, "", 0), _MOST_LOOKED_AT))


def _matches(path: str) -> bool:
    name = path.rpartition("/")[2]
    return bool(_PSG.fullmatch(name) or _TUH.fullmatch(name))


def find_recordings(files: Iterable[str]) -> tuple[Recording, ...]:
    """Return the recordings of a dataset of one of the layouts, sorted by path; none where it has another."""
    there = sorted(files)
    hypnograms = {
        (folder, match["stem"].upper()): path
        for path in there
        for folder, _, name in [path.rpartition("/")]
        if (match := _HYPNOGRAM.fullmatch(name))
    }
    found = []
    for path in there:
        folder, _, name = path.rpartition("/")
        if match := _PSG.fullmatch(name):
            stem = f"{match['subject']}{match['night']}{match['recorder']}".upper()
            found.append(_night(path, match, hypnograms.get((folder, stem), "")))
        elif match := _TUH.fullmatch(name):
            found.append(_part(path, match))
    return tuple(found)


def _night(path: str, match: re.Match[str], hypnogram: str) -> Recording:
    told = f"its events are the annotations of {hypnogram}" if hypnogram else "there is no hypnogram beside it"
    return Recording(
        path=path,
        subject=match["subject"].upper(),
        session=match["night"],
        task="sleep",
        run="",
        files=(path,),
        events=hypnogram,
        notes=(told,),
    )


def _part(path: str, match: re.Match[str]) -> Recording:
    return Recording(
        path=path, subject=match["subject"], session=match["session"], task="rest", run=match["part"], files=(path,)
    )


def folder_labels(recordings: Iterable[Recording]) -> pd.DataFrame:
    """Return what the folders of TUAB say of each session, as sessions.tsv would: ``pathology`` and ``subset``.

    One row per subject and session; a column only where a folder says something about it.
    """
    rows: dict[tuple[str, str], list[str]] = {}
    for recording in recordings:
        parts = recording.path.split("/")[:-1]
        told = [next((part for part in parts if part in names), "") for names in (_PATHOLOGY, _SUBSETS)]
        rows.setdefault((recording.subject, recording.session), told)
    if not rows:
        return pd.DataFrame()
    index = pd.MultiIndex.from_tuples(list(rows), names=["subject", "session"])
    table = pd.DataFrame(list(rows.values()), index, ["pathology", "subset"], dtype=object)
    return table.loc[:, (table != "").any()]
