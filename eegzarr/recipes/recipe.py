"""What a window is: where it lies, what it predicts, and which recordings have one.

A `Recipe` is a value. Its JSON form is stored with every group of a lake, and two groups
with the same recipe hold windows that mean the same.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from eegzarr.errors import RecipeError
from eegzarr.names import safe_name
from eegzarr.recipes.labels import Labels, label_rules
from eegzarr.recipes.montage import (
    Missing,
    Naming,
    Pairs,
    check_channels,
    checked_missing,
    checked_pairs,
    checked_rename,
)
from eegzarr.recipes.rules import ADDED, TRIALS, EventRules
from eegzarr.suggest import did_you_mean

Anchor = Literal["stimulus", "response", "trial_start", "event", "interval", "recording", "given"]
Target = str | tuple[str, ...]
GIVEN: Anchor = "given"  # another program cut the windows: there is nothing to cut them from

TRIAL_REQUIRED = ("stimulus_onset", "response_onset")
# What is known of a trial; see `eegzarr.recipes.trials`.
TRIAL_COLUMNS = (
    "trial_start",
    "trial_stop",
    "stimulus_onset",
    "response_onset",
    "rt_from_stimulus",
    "rt_from_trialstart",
    "response_type",
    "correct",
)


@dataclass(frozen=True, kw_only=True)
class WindowSpan:
    """Where a window lies around its anchor.

    Parameters
    ----------
    start, stop : float
        Seconds from the anchor; the sample at `stop` is not part of the window.
    """

    start: float
    stop: float

    def __post_init__(self) -> None:
        if not -math.inf < self.start < self.stop < math.inf:
            raise RecipeError(
                f"a window must end after it starts, both finite, got start={self.start} s, stop={self.stop} s"
            )

    def first_sample(self, sfreq: float) -> int:
        """Samples from the anchor to the first sample of the window."""
        return round(self.start * sfreq)

    def samples(self, sfreq: float) -> int:
        """Length of the window in samples at `sfreq` Hz."""
        return round((self.stop - self.start) * sfreq)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What is done to a whole recording before windows are cut from it.

    Parameters
    ----------
    l_freq, h_freq : float, optional
        Edges of a band-pass in Hz; one alone is a high-pass or a low-pass.
    resample : bool
        Bring recordings of any rate to the recipe's; without it others are skipped.
    reference : str
        ``"average"`` of the good EEG channels, or the channel to subtract; "" leaves the reference alone.
    notch : tuple of float, or "sidecar"
        Frequencies to remove, in Hz; a single number is one of them. ``"sidecar"`` takes the recording's
        ``PowerLineFrequency`` from eeg.json.
    interpolate_bads : bool
        Interpolate bad channels from the others.
    """

    l_freq: float | None = None
    h_freq: float | None = None
    resample: bool = False
    reference: str = ""
    notch: tuple[float, ...] | str = ()
    interpolate_bads: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.notch, (int, float)):
            object.__setattr__(self, "notch", (float(self.notch),))
        elif not isinstance(self.notch, str):
            object.__setattr__(self, "notch", tuple(float(freq) for freq in self.notch))
        elif self.notch != "sidecar":
            raise RecipeError(f"notch must be a frequency, a list of them or 'sidecar', got {self.notch!r}")
        if not isinstance(self.notch, str) and not all(0 < freq < math.inf for freq in self.notch):
            raise RecipeError(f"notch must have positive frequencies in Hz, got {list(self.notch)}")
        for name in ("l_freq", "h_freq"):
            if (edge := getattr(self, name)) is not None and not 0 < edge < math.inf:
                raise RecipeError(f"{name} must be positive, got {edge} Hz")
        if self.l_freq is not None and self.h_freq is not None and self.l_freq >= self.h_freq:
            raise RecipeError(f"l_freq must lie below h_freq, got {self.l_freq} and {self.h_freq} Hz")

    @property
    def leaves_signals_alone(self) -> bool:
        """Whether windows of recordings at the recipe's rate are read unchanged."""
        return self == Preparation(resample=self.resample)

    @property
    def touches_recordings(self) -> bool:
        """Whether any recording may have to be prepared as a whole."""
        return self != Preparation()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How windows are cut from recordings and what they are labelled with.

    Parameters
    ----------
    name : str
        Name of the groups that it makes: ``<name>/<release>``.
    span : WindowSpan
        Where a window lies around its anchor.
    anchor : {"stimulus", "response", "trial_start", "event", "interval", "recording", "given"}
        What a window is cut around: the first three are of a trial. With ``"interval"`` windows follow each
        other every `stride` seconds in an event's duration, with ``"recording"`` in the whole recording, as long as
        they fit. ``"given"`` is for windows that were cut elsewhere (`eegzarr.from_mne`); no build can cut them.
    target : str or tuple of str
        The label to predict: ``event`` for its class, a label of the window or a column of participants.tsv,
        number or text, or an expression of such columns, as ``log(rt_from_stimulus)``; see
        `eegzarr.recipes.expression`. Several are given as a list; "" is for none.
    tasks : tuple of str
        BIDS task names that are used; empty for all.
    runs : tuple of str
        BIDS runs that are used, with or without leading zeros; empty for all.
    stride : float, optional
        Seconds from one window to the next, for the anchors ``recording`` and ``interval``.
    sfreq : float
        Sampling rate in Hz that a recording must have; with `whole`, 0 for the rate that they have.
    channels : tuple of str
        Channels and their order; empty for those that most recordings of the source have.
    rename : tuple of (str, str), or "10-20"
        Names of channels in the recordings, and those that they get; also as a dict.
    types : tuple of (str, str)
        What channels are, by their new names, over what the dataset and the file say; also as a dict.
    missing : {"skip", "nan", "interpolate"}
        What is done with a recording that lacks one of `channels`: it is skipped, or the channel is NaN, or
        interpolated from the good ones.
    events : EventRules
        Which events count, and what they mean.
    labels : tuple of IntervalLabel or TimeLabel
        Labels of windows along a recording, by the events that they overlap, or that come after them.
    require : tuple of str
        Columns of the trial table without which a trial gives no window.
    preparation : Preparation
        Filters, resampling and reference.
    whole : bool
        Windows are tiles that hold all of each recording, back to back; the last one is padded with NaN. Other
        recipes' windows can be cut from them (`eegzarr.cut`).
    """

    name: str
    span: WindowSpan
    anchor: Anchor
    target: Target
    tasks: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    stride: float | None = None
    sfreq: float = 100.0
    channels: tuple[str, ...] = ()
    rename: Pairs | str = ()
    types: Pairs = ()
    missing: Missing = "skip"
    events: EventRules = TRIALS
    require: tuple[str, ...] = TRIAL_REQUIRED
    preparation: Preparation = Preparation()
    labels: Labels = ()
    whole: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.target, str):
            object.__setattr__(self, "target", _targets(self.target))
        object.__setattr__(self, "labels", label_rules(self.labels))
        if self.anchor in ("event", "interval") and self.require == TRIAL_REQUIRED:
            object.__setattr__(self, "require", ())  # what trials need by default
        if self.whole:
            self._check_tiles()
        if self.name != safe_name(self.name):
            raise RecipeError(
                f"recipe name {self.name!r} can't name a group: use letters, digits, - and _, "
                f"as {safe_name(self.name)!r}"
            )
        if not 0 < self.sfreq < math.inf and not (self.whole and self.sfreq == 0):
            raise RecipeError(f"recipe {self.name}: sfreq must be positive, got {self.sfreq} Hz")
        for name in self.require:
            if name not in TRIAL_COLUMNS:
                raise RecipeError(
                    f"recipe {self.name}: require names {name!r}, which no trial has."
                    f"{did_you_mean(name, TRIAL_COLUMNS)} There are {', '.join(TRIAL_COLUMNS)}"
                )
        self._check_anchor()
        if self.n_times < 1 and self.sfreq:
            raise RecipeError(f"recipe {self.name}: the span holds no sample at {self.sfreq} Hz")
        object.__setattr__(self, "rename", checked_rename(self.rename, "rename"))
        object.__setattr__(self, "types", checked_pairs(self.types, "types"))
        checked_missing(self.missing, "missing")
        check_channels(self.name, self.channels, self.missing)
        Naming(rename=self.rename, types=self.types)  # refuses what can't name channels
        reference = self.preparation.reference
        if self.channels and reference not in ("", "average", *self.channels):
            raise RecipeError(f"recipe {self.name}: the reference {reference!r} is none of its channels")

    def _check_tiles(self) -> None:
        """Refuse tiles that wouldn't hold whole recordings, once each."""
        if self.anchor != "recording" or self.span.start != 0:
            raise RecipeError(
                f"recipe {self.name}: whole recordings need the anchor 'recording' and span.start = 0, got "
                f"{self.anchor!r} and {self.span.start:g}"
            )
        if self.stride not in (None, self.span.stop):
            raise RecipeError(
                f"recipe {self.name}: tiles of whole recordings follow each other without gaps: leave out stride, or "
                f"give {self.span.stop:g}"
            )
        object.__setattr__(self, "stride", self.span.stop)

    def _check_anchor(self) -> None:
        """Refuse what has no meaning with the anchor."""
        follow = self.anchor in ("recording", "interval")
        if follow and (self.stride is None or not 0 < self.stride < math.inf):
            along = "a recording" if self.anchor == "recording" else "an interval"
            raise RecipeError(f"recipe {self.name}: windows along {along} need a stride > 0, in seconds")
        if not follow and self.stride is not None:
            raise RecipeError(f"recipe {self.name}: a stride has no meaning with the anchor {self.anchor!r}")
        if follow and self.span.start < 0:
            raise RecipeError(f"recipe {self.name}: span.start must be at least 0 with the anchor {self.anchor!r}")
        if self.anchor in ("event", "interval") and self.require:
            raise RecipeError(
                f"recipe {self.name}: require is of trials: with the anchor {self.anchor!r} give events.classes or "
                f"events.where"
            )
        if self.labels and self.anchor != "recording":
            raise RecipeError(
                f"recipe {self.name}: [labels.{self.labels[0].name}] labels windows along a recording, and the anchor "
                f"is {self.anchor!r}"
            )
        if own := [label.name for label in self.labels if label.name in (*TRIAL_COLUMNS, "start_sample", "recording")]:
            raise RecipeError(f"recipe {self.name}: [labels.{own[0]}]: windows have a label of that name anyway")
        try:
            self.events.check(self.anchor)
        except RecipeError as error:
            raise RecipeError(f"recipe {self.name}: {error}") from None

    @property
    def asks_events(self) -> bool:
        """Whether a recording's events say where its windows lie, or label them."""
        return self.anchor not in ("recording", GIVEN) or bool(self.labels)

    @property
    def noun(self) -> str:
        """What windows are cut around and left out of: a trial, an event, or nothing but the window itself."""
        if self.anchor in ("event", "interval"):
            return "event"
        return "trial" if self.asks_events and not self.labels else "window"

    @property
    def n_times(self) -> int:
        """Samples in a window."""
        return self.span.samples(self.sfreq)

    @property
    def naming(self) -> Naming:
        """What channels are called and what they are."""
        return Naming(rename=self.rename, types=self.types)

    def to_json(self) -> str:
        """Return the recipe as canonical JSON: equal recipes give equal text."""
        fields = dataclasses.asdict(self)
        # What older recipes don't have is left out where it says nothing, so that their text stays what it was.
        added = (
            (fields, ("labels", "runs", "whole", "rename", "types", "missing")),
            (fields["preparation"], ("notch", "interpolate_bads")),
            (fields["events"], ADDED),
        )
        for table, names in added:
            for name in names:
                if not table[name] or (name, table[name]) in (("repeats", "all"), ("missing", "skip")):
                    del table[name]
        for name in ("rename", "types"):
            if not isinstance(fields.get(name, ""), str):
                fields[name] = dict(fields[name])
        for label in fields.get("labels", ()):
            if label.get("most") == math.inf:
                del label["most"]  # JSON has no infinity
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def recipe_from_json(text: str) -> Recipe:
    """Return the recipe that `Recipe.to_json` wrote."""
    return recipe_from_fields(json.loads(text))


def recipe_from_fields(fields: dict[str, Any]) -> Recipe:
    """Return the recipe with the given fields, as TOML or JSON gives them.

    Raises
    ------
    RecipeError
        If a field is missing, unknown, or of the wrong kind.
    """
    fields = dict(fields)
    nested = {"span": WindowSpan, "events": EventRules, "preparation": Preparation}
    for key, kind in nested.items():
        if key in fields:
            fields[key] = _make(kind, fields[key], key)
    recipe = _make(Recipe, fields, "recipe")
    assert isinstance(recipe, Recipe)
    return recipe


def _make(kind: type, fields: object, where: str) -> Any:
    if not isinstance(fields, dict):
        raise RecipeError(f"{where} must be a table, got {fields!r}")
    known = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise RecipeError(
            f"{where} has no {', '.join(unknown)}; it can have {', '.join(known)}.{did_you_mean(unknown[0], known)}"
        )
    required = {n for n, f in known.items() if f.default is dataclasses.MISSING}
    if missing := sorted(required - set(fields)):
        raise RecipeError(f"{where} needs {', '.join(missing)}")
    return kind(**{name: _checked(known[name].type, value, f"{where}.{name}") for name, value in fields.items()})


# By the annotation of a field about channels.
_MONTAGE = {"Pairs | str": checked_rename, "Pairs": checked_pairs, "Missing": checked_missing}


def _checked(annotation: object, value: object, where: str) -> object:
    """Compare a value from TOML or JSON with a field's annotation (as text)."""
    wanted = str(annotation)
    if wanted in _MONTAGE:
        return _MONTAGE[wanted](value, where)
    if wanted == "tuple[float, ...] | str":
        return _frequencies(value, where)
    if wanted == "bool" and not isinstance(value, bool):
        raise RecipeError(f"{where} must be true or false, got {value!r}")
    if wanted == "Target" and not isinstance(value, str):
        return _targets(value)
    if wanted.startswith("tuple"):
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) for v in values):
            raise RecipeError(f"{where} must be a list of texts, got {value!r}")
        return tuple(values)
    if wanted.startswith("float"):
        if value is None and "None" in wanted:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise RecipeError(f"{where} must be a number, got {value!r}")
        return float(value)
    if wanted == "Anchor" and value not in (anchors := get_args(Anchor)):
        hint = did_you_mean(str(value), anchors)
        raise RecipeError(f"{where} must be one of {', '.join(anchors)}, got {value!r}.{hint}")
    if wanted == "str" and not isinstance(value, str):
        raise RecipeError(f"{where} must be a text, got {value!r}")
    return value


def _targets(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(v, str) and v for v in value):
        raise RecipeError(f"target must be a label, a list of labels, or an expression of labels, got {value!r}")
    if len(set(value)) < len(value):
        raise RecipeError(f"target names a label twice: {', '.join(value)}")
    return tuple(value)


def _frequencies(value: object, where: str) -> object:
    if isinstance(value, str):
        return value
    values: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value]
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in values):
        raise RecipeError(f"{where} must be a frequency in Hz, a list of them or 'sidecar', got {value!r}")
    return tuple(float(v) for v in values)
