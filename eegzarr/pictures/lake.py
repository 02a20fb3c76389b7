"""A page about a lake."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from eegzarr.amounts import counted, size
from eegzarr.errors import LakeError, redacted
from eegzarr.pictures import page
from eegzarr.pictures.canvas import as_svg, one_axes
from eegzarr.pictures.labels import label_distributions, labels_worth_drawing, lost_of_all, subjects
from eegzarr.pictures.passes import Averages, Spectrum, SubjectAverages, read
from eegzarr.pictures.passes import SortedImage as ErpImage
from eegzarr.pictures.signals import (
    amplitudes,
    draw_erp,
    draw_erp_image,
    draw_psd,
    draw_topomap,
    has_positions,
    usual_channel,
    usual_condition,
)
from eegzarr.pictures.windows import target_by_subject, timeline, traces, windows_by_subject
from eegzarr.recipes.classes import classes_of
from eegzarr.recipes.recipe import recipe_from_json
from eegzarr.store.describe import GroupSummary, describe_lake
from eegzarr.store.layout import COMPLETE
from eegzarr.store.open import RECIPE_NAME, open_recordings, open_windows
from eegzarr.store.verify import verify_lake
from eegzarr.stream.stored import splits_of, told_split
from eegzarr.watch.tables import label_cells, label_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from eegzarr.store.describe import NumberStatistics, TextStatistics

_PACKAGES = ("eegzarr", "zarr", "numcodecs", "xarray", "dask", "mne", "numpy")
_MOST_ROWS = 500  # of skipped recordings


def lake_page(
    lake: str | Path, *, check: bool = True, signals: bool = True, on_step: Callable[[str], None] = lambda step: None
) -> str:
    """Return a page about a lake, as HTML.

    Parameters
    ----------
    lake : path or URL
    check : bool
        Compare every file with its checksum, which reads the whole lake.
    signals : bool
        Draw what reads signals: each recipe's windows once, in bounded memory.
    on_step : callable
        Told what comes next.

    Raises
    ------
    LakeError
        If there is no lake.
    """
    summaries = describe_lake(lake)
    sections = [("Groups", _groups(summaries))]
    by_recipe: dict[str, list[GroupSummary]] = {}
    for summary in summaries:
        if summary.status == COMPLETE and summary.windows:
            by_recipe.setdefault(summary.recipe, []).append(summary)
    for recipe, groups in by_recipe.items():
        on_step(f"{recipe}: {sum(group.windows for group in groups):,} windows")
        for heading, own, windows in _opened(lake, recipe, groups):
            sections.append((heading, "".join(_recipe(lake, windows, own, signals))))
    if splits := splits_of(lake):
        sections.append(("Splits", _splits(splits)))
    if check:
        on_step("comparing every file with its checksum")
        sections.append(("Checks", _checks(lake)))
    sections.append(("Provenance", _provenance(summaries)))
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return page.page(redacted(str(lake)), f"A lake of EEG windows; this page was made on {made}.", sections)


def _opened(
    lake: str | Path, recipe: str, groups: list[GroupSummary]
) -> list[tuple[str, list[GroupSummary], xr.Dataset]]:
    """Open a recipe's groups together; one by one, where they have other channels, rates or kinds of labels."""
    releases = [group.group.rpartition("/")[2] for group in groups]
    try:
        return [(recipe, groups, open_windows(lake, recipe, releases))]
    except LakeError:
        if len(groups) == 1:
            raise
        return [
            (group.group, [group], open_windows(lake, recipe, [release]))
            for group, release in zip(groups, releases, strict=True)
        ]


def _groups(summaries: list[GroupSummary]) -> str:
    complete = [summary for summary in summaries if summary.status == COMPLETE]
    totals = page.facts(
        [
            (f"{sum(s.windows for s in complete):,}", "windows"),
            (f"{max((s.subjects for s in complete), default=0):,}", "subjects in the largest group"),
            (f"{sum(s.recorded_hours for s in complete):,.1f} h", "of recordings"),
            (size(sum(s.nbytes for s in complete)), "of signals, compressed"),
        ]
    )
    header = ("group", "status", "windows", "invalid", "subjects", "recordings", "hours", "size", "ratio", "stored as")
    rows = [
        (
            *(s.group, f"{s.status} {s.note}", s.windows, s.invalid, s.subjects, s.recordings, round(s.hours, 1)),
            *(size(s.nbytes), round(s.ratio, 2), f"{s.stored_as}, {s.channels} channels, {s.sampling_rate:g} Hz"),
        )
        for s in summaries
    ]
    return totals + page.card("", page.table(header, rows))


def _splits(splits: dict[str, dict[str, dict[str, int] | None]]) -> str:
    rows = [(recipe, name, told_split(parts)) for recipe, kept in splits.items() for name, parts in kept.items()]
    return page.card("", page.table(("recipe", "split", "parts"), rows))


def _recipe(lake: str | Path, windows: xr.Dataset, groups: list[GroupSummary], signals: bool) -> Iterator[str]:
    yield page.grid(
        [
            _drawn("Subjects", subjects(windows)),
            _drawn("Windows per subject", windows_by_subject(windows)),
            *_targets(windows),
            _drawn("Amplitude", amplitudes(windows)),
            # The last: it may fill a row, and bars of text look well at any width.
            _lost(windows),
        ]
    )
    yield _drawn("Windows in a recording", timeline({_name_of(windows): windows}), is_wide=True)
    if names := labels_worth_drawing(windows):
        yield page.card("Labels", page.small(_label(windows, name) for name in names))
    if signals:
        yield _drawn("Some windows", traces(windows), is_wide=True)
        yield page.grid(_signals(windows))
    for group in groups:
        yield page.card(
            f"{group.group}: labels",
            page.table(("label", "missing", "mean ± SD", "range", "values (windows)"), _labels(group)),
        )
        yield _skipped(lake, group)


def _name_of(windows: xr.Dataset) -> str:
    return str(windows.attrs.get(RECIPE_NAME, "windows"))


def _targets(windows: xr.Dataset) -> list[str]:
    """Return pictures of the target: in each subject, and of classes how many windows each has."""
    if "target" not in windows.coords:
        return []
    cards = [_drawn("Target by subject", target_by_subject(windows))]
    if classes_of(windows["target"].attrs) is not None:
        cards.append(_drawn("Windows of each class", label_distributions(windows, ["target"])[0]))
    return cards


def _signals(windows: xr.Dataset) -> list[str]:
    """Pictures of the signals, from one pass over them."""
    channel = usual_channel(windows)
    erps = SubjectAverages(windows, channel, usual_condition(windows))
    everything, spectrum = Averages(windows), Spectrum(windows)
    anchored = recipe_from_json(windows.attrs["recipe"]).anchor != "recording"
    # Windows that were given need not have reaction times.
    is_sorted = anchored and bool(np.isfinite(windows["rt_from_stimulus"].to_numpy()).any())
    image = ErpImage(windows, channel, "rt_from_stimulus") if is_sorted else None
    read(windows, erps, everything, spectrum, *([image] if image else []))
    pictures = [("Power spectral density", draw_psd(spectrum))]
    if image:
        pictures.insert(0, (f"Trials at {channel}", draw_erp_image(windows, image)))
    if anchored:
        pictures.insert(0, (f"Average at {channel}", draw_erp(windows, erps)))
    if has_positions(windows):
        pictures.append(("Scalp map", draw_topomap(windows, everything, ax=one_axes(None))))
    return [_drawn(name, axes) for name, axes in pictures]


def _lost(windows: xr.Dataset) -> str:
    """Return how many windows an analysis loses, by reason."""
    lost, total = lost_of_all(windows)
    heading = f"{sum(lost.values()):,} of {counted(total, 'window')} lost"
    return page.card(heading, page.bars(lost, total) if lost else '<p class="good">All windows can be used.</p>')


def _drawn(heading: str, axes: Axes, *, is_wide: bool = False) -> str:
    title = axes.get_title(loc="left")
    axes.set_title("", loc="left")  # the card has it, as text that wraps
    is_repeated = title.lower().startswith(heading.lower())
    note = title[len(heading) :].lstrip(":, ") if is_repeated else title
    picture = page.picture(as_svg(axes), heading)
    return page.card(heading, page.wide(picture) if is_wide else picture, note)


def _label(windows: xr.Dataset, name: str) -> str:
    return page.picture(as_svg(label_distributions(windows, [name])), f"Label {name}")


def _labels(group: GroupSummary) -> Iterator[tuple[object, ...]]:
    statistics: NumberStatistics | TextStatistics
    for name, statistics in group.labels.items():
        mean, span, values = label_cells(statistics)
        # Numbers stay on one line.
        yield label_title(group, name), statistics.missing or "", _unbroken(mean), _unbroken(span), values


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _skipped(lake: str | Path, group: GroupSummary) -> str:
    recipe, _, release = group.group.rpartition("/")
    table = open_recordings(lake, recipe, release)
    columns = (table[name].to_numpy().astype(object).tolist() for name in ("path", "reason", "windows"))
    rows = [row for row in zip(*columns, strict=True) if row[1]]
    if not rows:
        return page.card(f"{group.group}: no recording skipped", '<p class="good">All recordings have windows.</p>')
    by_reason: dict[str, list[tuple[object, ...]]] = {}
    for path, reason, count in rows:
        by_reason.setdefault(str(reason), []).append((path, count))
    html = "".join(
        page.folded(
            reason,
            len(found),
            page.table(("recording", "windows"), found[:_MOST_ROWS])
            + (f"<p>and {len(found) - _MOST_ROWS:,} more</p>" if len(found) > _MOST_ROWS else ""),
        )
        for reason, found in sorted(by_reason.items(), key=lambda pair: -len(pair[1]))
    )
    how = "skipped" if not any(count for _, _, count in rows) else "skipped, or read in part"
    number = table.sizes["recording"]
    return page.card(f"{group.group}: {len(rows):,} of {counted(number, 'recording')} {how}", html)


def _checks(lake: str | Path) -> str:
    try:
        faults = verify_lake(lake)
    except LakeError as error:
        return page.card("", f'<p class="bad">{escape(str(error))}</p>')
    if not faults:
        return page.card("", '<p class="good">All checksums match.</p>')
    rows = [(fault.path, fault.kind, fault.reason) for fault in faults]
    return page.card(counted(len(faults), "fault"), page.table(("file", "kind", "what"), rows))


def _provenance(summaries: list[GroupSummary]) -> str:
    cards = []
    for summary in summaries:
        shown = {name: value for name, value in summary.attributes.items() if name not in ("coordinates", "recipe")}
        rows: list[tuple[object, ...]] = list(shown.items())
        if "recipe" in summary.attributes:
            recipe = recipe_from_json(summary.attributes["recipe"])
            rows += [(f"recipe.{name}", _brief(value)) for name, value in vars(recipe).items()]
        cards.append(page.card(summary.group, page.table(("attribute", "value"), rows)))
    packages = [("Python", platform.python_version()), *((name, version(name)) for name in _PACKAGES)]
    return "".join(cards) + page.card("Versions of this report", page.table(("package", "version"), packages))


def _brief(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 300 else f"{text[:300]} …"
