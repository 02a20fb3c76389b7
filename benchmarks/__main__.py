"""eegzarr beside its peers, in one command.

python -m benchmarks [--source BIDS_FOLDER] [--out DIR] [--only build,stream,bucket,scale,training,micro] [--smoke]

Writes results.json (every figure of every turn, the machine, versions, commit and command),
results.md (medians with the smallest and the largest, ratios, shares of limits) and plots, after each
section. Sections that aren't run again are kept as they are in the results of DIR. A run that was
broken off goes on with the next thing to measure when the same is started again at the same commit.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import bucket, build, micro, scale, stream, training
from benchmarks.journal import begin, once
from benchmarks.machine import commit, machine, versions
from benchmarks.measure import progress
from benchmarks.plots import draw
from benchmarks.settings import Settings
from benchmarks.source import simulated_source

REPORTS: dict[str, Callable[[Any], str]] = {
    "build": build.report,
    "stream": stream.report,  # the limits are measured in turns with the readers
    "bucket": bucket.report,
    "scale": scale.report,
    "training": training.report,
    "micro": micro.report,
}
FROM_FORMATS = ("stream", "bucket", "scale", "training")
RESULTS = "results.json"
BUSY = 0.7  # load of the minute before, above which figures are disturbed


def main(argv: list[str] | None = None) -> int:
    """Run sections, write results; return the exit code."""
    arguments = _parse(argv)
    began, load = time.monotonic(), os.getloadavg()[0]
    if load > BUSY and not arguments.smoke:
        progress(f"warning: other programs keep this machine busy (load {load:.1f}), which disturbs all figures")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="eegzarr-bench-", dir=arguments.scratch) as folder:
        settings = _settings(arguments, Path(folder))
        if settings.journal.stat().st_size:
            progress(f"going on with a run that was broken off: {settings.journal} has its figures so far")
        for name, figures in (_at_once if arguments.smoke else _one_by_one)(settings, arguments):
            _keep(arguments.out, name, figures, settings, load)
    settings.journal.unlink()
    progress(f"{arguments.out / 'results.md'} after {time.monotonic() - began:.0f} s")
    return 0


def _run_of(arguments: argparse.Namespace) -> dict[str, object]:
    """Return all that the figures of a run depend on, but where they are written."""
    at = commit()
    given = ("source", "readers", "repeat", "seconds", "warm_up", "sizes", "patience", "smoke")
    return {
        "commit": f"{at} {time.time()}" if at.endswith("+") else at,  # files that differ may differ again
        **{name: str(getattr(arguments, name)) for name in given},
    }


def _told(settings: Settings) -> dict[str, object]:
    return {name: value for name, value in dataclasses.asdict(settings).items() if not isinstance(value, Path)}


def _one_by_one(settings: Settings, arguments: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    # In this thread, which is the one that an interrupt ends.
    if set(arguments.only) & set(FROM_FORMATS):
        _write_formats(settings)
    for name in arguments.only:
        yield name, _run(name, settings, arguments.readers)


def _at_once(settings: Settings, arguments: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Run two things at a time, where nothing is measured."""
    with ThreadPoolExecutor(2) as pool:
        formats = pool.submit(_write_formats, settings) if set(arguments.only) & set(FROM_FORMATS) else None

        def run(name: str) -> Any:
            if name in FROM_FORMATS and formats:
                formats.result()
            return _run(name, settings, arguments.readers)

        yield from zip(arguments.only, pool.map(run, arguments.only), strict=True)


def _run(name: str, settings: Settings, readers: tuple[str, ...]) -> Any:
    return once(settings.journal, f"section {name}", lambda: _measured(name, settings, readers))


def _measured(name: str, settings: Settings, readers: tuple[str, ...]) -> Any:
    if name == "stream":
        return stream.run(settings, readers)
    if name == "micro":
        return micro.run()
    sections: dict[str, Callable[[Settings], Any]] = {
        "build": build.run,
        "bucket": bucket.run,
        "scale": scale.run,
        "training": training.run,
    }
    return sections[name](settings)


def _write_formats(settings: Settings) -> None:
    # In a process of its own: what it imports would be copied into those that are measured.
    command = [sys.executable, "-m", "benchmarks.formats", str(settings.source), str(settings.formats)]
    subprocess.run(command, check=True)


def _keep(out: Path, name: str, figures: Any, settings: Settings, load: float) -> None:
    """Put a section into the results, its tables too: those of an earlier run are kept as they were written."""
    path = out / RESULTS
    results = json.loads(path.read_text()) if path.exists() else {}
    results[name] = {
        "figures": figures,
        "report": REPORTS[name](figures),
        "machine": {**machine(settings.scratch), "load_before": round(load, 2)},
        "versions": versions(),
        "commit": commit(),
        # The source's folder is the reader's own affair: its name is enough.
        "settings": {
            "source": settings.source.name,
            **_told(settings),
        },
        "command": shlex.join(["python", "-m", "benchmarks", *_without_folders(sys.argv[1:])]),
    }
    path.write_text(json.dumps(results, indent=1) + "\n")
    (out / "results.md").write_text(_markdown(results))
    draw({name: figures}, out)


def _markdown(results: dict[str, Any]) -> str:
    parts = ["# eegzarr beside its peers\n\n"]
    for name in REPORTS:
        if name in results:
            result = results[name]
            about = result["machine"]
            parts.append(f"## {name.capitalize()}\n\n")
            if (plot := f"{name}.svg") in ("build.svg", "stream.svg", "scale.svg"):
                parts.append(f"![{name}]({plot})\n\n")
            parts.append(result["report"] + "\n")
            parts.append(
                f"`{result['command']}` at {result['commit']}, {result['settings']['repeat']} turns, source "
                f"{result['settings']['source']}; {about['processor']}, {about['cores']} cores, "
                f"{about['memory_gib']} GiB, {about['file_system']}, GPU: {about['gpu']}, "
                f"load before {about['load_before']}, Python {about['python']}.\n\n"
            )
    if results:
        found = list(results.values())[-1]["versions"]
        parts.append("Versions: " + ", ".join(f"{name} {version}" for name, version in found.items()) + ".\n")
    return "".join(parts)


def _without_folders(arguments: list[str]) -> list[str]:
    """Replace folders of this machine by their names."""
    return [Path(argument).name if os.sep in argument else argument for argument in arguments]


def _settings(arguments: argparse.Namespace, scratch: Path) -> Settings:
    source = arguments.source or scratch / "simulated"
    if not arguments.source and set(arguments.only) != {"micro"}:  # which makes what it needs
        simulated_source(source, smoke=arguments.smoke)
    settings = Settings(
        source=source.resolve(),
        formats=arguments.formats or scratch / "formats",
        scratch=scratch,
        journal=begin(arguments.out, _run_of(arguments)),
        repeat=arguments.repeat,
        seconds=arguments.seconds,
        warm_up=arguments.warm_up,
        sizes=arguments.sizes,
        patience=arguments.patience,
    )
    if not arguments.smoke:
        return settings
    return dataclasses.replace(settings, repeat=1, seconds=0.1, warm_up=0.0, sizes=(1,), smoke=True)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, help="BIDS folder with the contrast change detection task at 100 Hz")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="default: %(default)s")
    parser.add_argument("--only", type=_sections, default=tuple(REPORTS), help="sections, with commas between")
    parser.add_argument("--smoke", action="store_true", help="run all of it tiny: the figures mean nothing")
    parser.add_argument("--repeat", type=int, default=3, help="turns (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="a reader a turn (default: %(default)s)")
    parser.add_argument(
        "--warm-up", type=float, default=15.0, help="s of reading before, at most (default: %(default)s)"
    )
    parser.add_argument("--sizes", type=_numbers, default=(0.25, 0.5, 1, 4), help="of builds, times the source")
    parser.add_argument(
        "--patience",
        type=float,
        default=120.0,
        help="s after which a way of building isn't run again (default: %(default)s)",
    )
    parser.add_argument("--readers", type=_texts, default=(), help="only those whose name has one of these in it")
    parser.add_argument("--formats", type=Path, help="keep the windows in every format here, for the next run")
    parser.add_argument("--scratch", type=Path, help="where to put temporary files")
    return parser.parse_args(argv)


def _texts(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(","))


def _sections(text: str) -> tuple[str, ...]:
    asked = _texts(text.replace("limits", "stream"))
    if unknown := sorted(set(asked) - set(REPORTS)):
        raise argparse.ArgumentTypeError(f"no section {', '.join(unknown)}: there are {', '.join(REPORTS)}")
    return tuple(name for name in REPORTS if name in asked)


if __name__ == "__main__":
    # So that a run that is ended from outside removes its files, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
