"""What a unit's text means, in microvolts.

Headers hold eight bytes in an encoding that isn't recorded: a micro sign comes as Latin-1, UTF-8, Shift-JIS or
code page 437, or as the Greek letter. An unknown spelling stays unknown: a wrong guess is wrong by a
thousand or a million, and nothing in the lake would show it.
"""

from __future__ import annotations

from functools import lru_cache

_MICRO = ("u", "\u00b5", "\u03bc", "mc", "micro")
_SPELLINGS = {
    "v": 1e6,
    "volt": 1e6,
    "volts": 1e6,
    "mv": 1e3,  # nobody records megavolts: "MV" is a millivolt in capitals
    "millivolt": 1e3,
    "millivolts": 1e3,
    "nv": 1e-3,
    "nanovolt": 1e-3,
    "nanovolts": 1e-3,
    "pv": 1e-6,
    **{f"{micro}{volt}": 1.0 for micro in _MICRO for volt in ("v", "volt", "volts")},
}
# Units of what is recorded beside EEG: a channel that has one is no EEG channel.
_OTHERS = """
% c °c oc degc deg k f bpm hz s ms sec rpm g mg m/s^2 m/s2 rad rad/s deg/s °/s lpm l/min l ml mmhg kpa pa mbar bar cmh2o
ohm kohm mohm ω kω us µs μs ns s/m siemens microsiemens usiemens t ft pt t/m a ma ua na lux lx cd/m2 mm cm m px pixel
pixels boolean bool bit bits code event events n nm db mol m² arbitrary a.u. au arb
"""
_NO_VOLTAGES = frozenset(_OTHERS.split())


# Cached: a recording has one unit for its hundred channels.
@lru_cache(maxsize=1024)
def decoded(content: bytes) -> str:
    """Return a header's text: UTF-8 where it is that, Latin-1 otherwise."""
    content = content.split(b"\0")[0].strip()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    if content[:2] == b"\x83\xca":  # the Greek letter in Shift-JIS
        return f"\u03bc{content[2:].decode('latin-1')}"
    if content[:1] == b"\xe6":  # the micro sign in code page 437
        return f"\u00b5{content[1:].decode('latin-1')}"
    return content.decode("latin-1")


@lru_cache(maxsize=1024)
def microvolts(text: str) -> float | None:
    """Return how many uV a unit is, None where the text isn't a known voltage.

    Parameters
    ----------
    text : str
        As a header or channels.tsv has it, in any case.
    """
    spelled = _plain(text)
    if spelled in _SPELLINGS:
        return _SPELLINGS[spelled]
    # UTF-8 that was read as Latin-1, as MNE reads headers.
    try:
        return _SPELLINGS.get(_plain(text.encode("latin-1").decode("utf-8")))
    except UnicodeError:
        return None


def is_no_voltage(text: str) -> bool:
    """Return whether a unit is known and isn't one of voltage."""
    return _plain(text) in _NO_VOLTAGES


def _plain(text: str) -> str:
    return text.strip().strip("[]()").replace(" ", "").lower()
