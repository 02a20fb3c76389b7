"""Releases of HBN-EEG by their names: in a folder of the user's, or in the challenge's public bucket."""

from __future__ import annotations

from pathlib import Path

from eegzarr.errors import UsageError
from eegzarr.suggest import did_you_mean

PUBLIC = "s3://nmdatasets/NeurIPS25"
# https://openneuro.org, "HBN-EEG, Release N"
OPENNEURO = {
    **{f"R{n}": f"ds{5504 + n:06d}" for n in range(1, 9)},
    **{f"R{n}": f"ds{5505 + n:06d}" for n in range(9, 12)},
}


def find_release(release: str, *, mini: bool = False, data_dir: str | Path | None = None) -> str:
    """Return where a release is: in `data_dir` under any of its usual names, else in the public bucket.

    Parameters
    ----------
    release : str
        ``R1`` to ``R11``.
    mini : bool
        The challenge's selection of 20 subjects.
    data_dir : path, optional
        Holds the challenge's folders (``R1_mini_L100_bdf``), EEGDash's cache (``EEG2025r1mini``),
        or OpenNeuro's (``ds005505``), which has all subjects at 500 Hz.

    Returns
    -------
    str
        Path or URL of a BIDS dataset.

    Raises
    ------
    UsageError
        If there is no such release, or no such folder.
    """
    if release not in OPENNEURO:
        raise UsageError(f"--releases {release}: there are {', '.join(OPENNEURO)}.{did_you_mean(release, OPENNEURO)}")
    challenge = f"{release}{'_mini' if mini else ''}_L100_bdf"
    if data_dir is not None:
        if not Path(data_dir).is_dir():
            raise UsageError(f"--data-dir {data_dir} isn't a folder")
        names = [
            challenge,
            f"EEG2025{release.lower()}{'mini' if mini else ''}",
            *([] if mini else [OPENNEURO[release]]),
        ]
        for name in names:
            if (Path(data_dir) / name).is_dir():
                return str(Path(data_dir) / name)
    return f"{PUBLIC}/{challenge}"
