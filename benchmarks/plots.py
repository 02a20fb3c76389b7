"""Plots of a run of the benchmarks, as SVG."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.measure import column

OURS, OTHERS = "tab:blue", "lightgray"


def draw(sections: dict[str, Any], out: Path) -> list[str]:
    """Draw what a run measured; return the names of the files."""
    drawn = []
    for name, section, plot in (("stream", "stream", _stream), ("build", "build", _build), ("scale", "scale", _scale)):
        if section in sections:
            figure = plot(sections[section])
            figure.savefig(out / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)
            drawn.append(f"{name}.svg")
    return drawn


def _stream(stream: dict[str, Any]) -> Any:
    """Windows a second of each reader, with limits as lines."""
    warm = {name: column(runs, "windows_per_s") for name, runs in stream["warm"].items()}
    names = sorted(warm, key=lambda name: median(warm[name]))
    figure, axes = plt.subplots(figsize=(9, 0.32 * len(names) + 1.5), layout="constrained")
    middles = [median(warm[name]) for name in names]
    reach = [
        [m - min(warm[name]) for m, name in zip(middles, names, strict=True)],
        [max(warm[name]) - m for m, name in zip(middles, names, strict=True)],
    ]
    colors = [OURS if name.startswith("eegzarr") else OTHERS for name in names]
    axes.barh(names, middles, xerr=reach, color=colors)
    for name, runs in stream["limits"].items():
        rate = median(column(runs, "windows_per_s"))
        axes.axvline(rate, color="black", linewidth=0.8, linestyle=":")
        axes.annotate(name, (rate, 0), rotation=90, fontsize=7, ha="right", va="bottom")
    axes.set(xscale="log", xlabel="windows/s, warm (dotted: limits of all cores)")
    return figure


def _build(sizes: dict[str, Any]) -> Any:
    """Wall time and memory of each way against the size of the source."""
    figure, (wall, memory) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    ways = next(iter(sizes.values()))["ways"]
    for name in ways:
        # What would have filled the disk is left out of the larger sizes.
        measured = [size for size in sizes.values() if name in size["ways"]]
        recordings = [size["recordings"] for size in measured]
        style = {"marker": "o", "linewidth": 2.5 if name.startswith("eegzarr") else 1, "label": name}
        runs = [size["ways"][name] for size in measured]
        wall.plot(recordings, [median(column(turns, "wall")) for turns in runs], **style)
        memory.plot(recordings, [median(column(turns, "peak_pss")) / 2**20 for turns in runs], **style)
    wall.set(xlabel="recordings", ylabel="wall, s", ylim=(0, None))
    memory.set(xlabel="recordings", ylabel="peak PSS of the process tree, MiB", ylim=(0, None))
    wall.legend(fontsize=7)
    return figure


def _scale(scale: dict[str, Any]) -> Any:
    """What a lake costs against the number of its windows."""
    counts = [int(count) for count in scale["windows"]]
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for key, label in (("open_s", "open_windows"), ("first_batch_s", "first batch")):
        axes.plot(counts, [median(column(runs, key)) for runs in scale["windows"].values()], marker="o", label=label)
    axes.set(xscale="log", yscale="log", xlabel="windows in the lake", ylabel="s")
    axes.legend()
    return figure
