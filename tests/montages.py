"""Recordings of several montages, spellings and rates, and what MNE makes of them."""

from __future__ import annotations

import warnings
from pathlib import Path

import mne
import numpy as np
from edfio import Edf, EdfSignal

from eegzarr.recipes.recipe import Recipe, WindowSpan

NAMES = ("Fp1", "Fp2", "F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4", "O1")
FEW = ("Fp1", "Fz", "C3", "Cz", "C4", "Pz", "O1")
OTHERWISE = {name: f"EEG {name.upper()}-REF" for name in NAMES}
RECIPE = Recipe(
    name="rest", anchor="recording", span=WindowSpan(start=0, stop=1), stride=1.0, sfreq=100, target="age", require=()
)


def write_edf(path: Path, names: tuple[str, ...], rate: int = 100, seed: int = 0, seconds: int = 6) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    signals = np.cumsum(np.random.default_rng(seed).normal(0, 3, (len(names), seconds * rate)), axis=1)
    whole = np.clip(np.round(signals), -800, 800)
    made = [
        EdfSignal(signal, rate, label=name, physical_dimension="uV", physical_range=(-1000, 1000))
        for name, signal in zip(names, whole, strict=True)
    ]
    Edf(made).write(path)


def by_mne(path: Path) -> mne.io.BaseRaw:
    """Read a recording; channels that are spelled otherwise get their usual names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = mne.io.read_raw_edf(path, preload=True, verbose="error")
    return raw.rename_channels({old: new for new, old in OTHERWISE.items() if old in raw.ch_names})


def standard_1005() -> mne.channels.DigMontage:
    names = mne.channels.get_builtin_montages()
    return mne.channels.make_standard_montage("standard_1005" if "standard_1005" in names else "colin27_1005")


def filled_by_mne(raw: mne.io.BaseRaw, lacking: tuple[str, ...], but: tuple[str, ...] = ()) -> mne.io.BaseRaw:
    """Add channels to a whole recording, as bad ones with positions, and have MNE interpolate all bads but some."""
    if lacking:
        info = mne.create_info(list(lacking), raw.info["sfreq"], "eeg")
        nothing = mne.io.RawArray(np.zeros((len(lacking), raw.n_times)), info, verbose="error")
        raw.add_channels([nothing], force_update_info=True)
    raw.set_montage(standard_1005())
    raw.info["bads"] = [*raw.info["bads"], *lacking]
    return raw.interpolate_bads(exclude=but, verbose="error")


def recording_of(root: Path, subject: str) -> Path:
    return root / f"sub-{subject}" / "eeg" / f"sub-{subject}_task-x_eeg.edf"


def write_dataset(root: Path) -> None:
    """Two montages, two spellings, two rates, and a recording that can't be read."""
    for number in (1, 2):
        write_edf(recording_of(root, f"full{number}"), (*NAMES, "VEOG"), seed=number)
    write_edf(recording_of(root, "other"), tuple(OTHERWISE[name] for name in NAMES), seed=3)
    write_edf(recording_of(root, "few"), FEW, seed=4)
    write_edf(recording_of(root, "fast"), NAMES, rate=200, seed=5)
    write_edf(recording_of(root, "fastfew"), FEW, rate=200, seed=6)
    recording_of(root, "broken").parent.mkdir(parents=True)
    recording_of(root, "broken").touch()
    write_people(root)


def write_people(root: Path) -> None:
    subjects = [folder.name for folder in sorted(root.glob("sub-*"))]
    people = "".join(f"{name}\t{20 + i}\n" for i, name in enumerate(subjects))
    (root / "participants.tsv").write_text(f"participant_id\tage\n{people}")
