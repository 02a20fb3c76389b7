"""Build a lake: ``python -m eegzarr.build --source DIR --out LAKE``."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from eegzarr.build.run import build_lake, forecast
from eegzarr.build.summary import BuildSummary, Forecast
from eegzarr.challenge.releases import find_release
from eegzarr.command import parsed_by, run_command
from eegzarr.errors import UsageError
from eegzarr.machine.memory import parse_bytes, parse_share
from eegzarr.recipes.load import PRESETS, load_recipe
from eegzarr.recipes.recipe import Recipe
from eegzarr.store.layout import COMPRESSIONS, DTYPES
from eegzarr.watch.interrupts import Interrupts
from eegzarr.watch.log import BuildLog
from eegzarr.watch.progress import BuildProgress

SKIPPED_WITH_STRICT = 3


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return run_command("eegzarr.build", lambda: _build(_parse(argv)))


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eegzarr.build",
        description="Cut recordings into labelled windows and write them into a Zarr v3 lake. "
        "A build that was stopped goes on where it was when the same command is given again.",
        epilog="Exit codes: 0 done; 1 failed; 2 usage; 3 built, but recordings were skipped and --strict was given; "
        "75 stopped by the memory guard or a full disk, run the same command again; 130 interrupted, likewise.",
    )
    sources = parser.add_mutually_exclusive_group(required=True)
    sources.add_argument(
        "--source",
        nargs="+",
        metavar="DIR|URL",
        help="BIDS datasets, folders or URLs; each becomes a release of the lake",
    )
    sources.add_argument("--releases", nargs="+", metavar="R1", help="HBN-EEG releases; see --mini and --data-dir")
    sources.add_argument("--sample", action="store_true", help="a small simulated dataset, made beside the lake")
    parser.add_argument(
        "--out", required=True, metavar="LAKE", help="lake to write to; its other groups are left alone"
    )
    parser.add_argument("--mini", action="store_true", help="with --releases: the challenge's 20 subjects of each")
    parser.add_argument(
        "--data-dir", metavar="DIR", help="with --releases: where they are looked for before the public bucket is read"
    )
    parser.add_argument(
        "--recipe", default="challenge1", metavar="NAME|FILE.toml", help=f"{', '.join(PRESETS)} (default: %(default)s)"
    )
    parser.add_argument("--name", help="name of the release (default: HBN's, else the source folder's name)")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="worker processes (default: a core each, as memory goes)"
    )
    parser.add_argument(
        "--memory-limit",
        type=parsed_by(parse_bytes),
        metavar="2GiB",
        help="for all processes together (default: half the machine)",
    )
    parser.add_argument(
        "--max-memory",
        type=parsed_by(parse_share),
        default=0.85,
        metavar="85%",
        help="of the machine; above it no new shard starts, and a build that stays there stops (default: 85%%)",
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a Dask cluster that runs already, instead of workers")
    parser.add_argument("--scheduler-file", metavar="FILE", help="likewise, by the file that its scheduler wrote")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of stored samples (default: %(default)s)")
    parser.add_argument(
        "--compression",
        choices=COMPRESSIONS,
        default="lz4",
        help="of stored samples, lossless: zstd is smaller and slower, none largest and fastest (default: %(default)s)",
    )
    parser.add_argument(
        "--shard-size",
        type=parsed_by(parse_bytes),
        metavar="64MiB",
        help="of a shard before compression (default: 64MiB)",
    )
    preparation = parser.add_argument_group("preparation", "instead of what the recipe says")
    preparation.add_argument("--resample", action="store_true", help="bring other sampling rates to the recipe's")
    preparation.add_argument("--l-freq", type=float, metavar="HZ", help="lower edge of a band-pass")
    preparation.add_argument("--h-freq", type=float, metavar="HZ", help="upper edge of a band-pass")
    preparation.add_argument("--reference", metavar="average|CHANNEL", help="reference to subtract")
    parser.add_argument(
        "--dry-run", action="store_true", help="tell what would be built and skipped, without reading a signal"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 3 if any recording was skipped")
    parser.add_argument("--overwrite", action="store_true", help="build anew where another recipe or source stands")
    parser.add_argument("--log-dir", metavar="DIR", help="for log files (default: LAKE.logs, ./eegzarr.logs for a URL)")
    arguments = parser.parse_args(argv)
    if arguments.name and arguments.source and len(arguments.source) > 1:
        parser.error("--name names one release: give one --source with it")
    if (arguments.mini or arguments.data_dir) and not arguments.releases:
        parser.error("--mini and --data-dir go with --releases")
    return arguments


def _recipe(arguments: argparse.Namespace) -> Recipe:
    """Return the recipe with the preparation that the options ask for."""
    recipe = load_recipe(arguments.recipe)
    asked = {
        name: value
        for name in ("l_freq", "h_freq", "resample", "reference")
        if (value := getattr(arguments, name)) not in (None, False)
    }
    return replace(recipe, preparation=replace(recipe.preparation, **asked)) if asked else recipe


def _build(arguments: argparse.Namespace) -> int:
    recipe = _recipe(arguments)
    summaries: list[BuildSummary | Forecast] = []
    command = f"python -m eegzarr.build {shlex.join(sys.argv[1:])}"
    for source in _sources(arguments):
        options = {
            name: getattr(arguments, name)
            for name in ("name", "dtype", "compression", "workers", "memory_limit", "max_memory", "shard_size")
        }
        options |= {name: getattr(arguments, name) for name in ("scheduler", "scheduler_file", "overwrite")}
        if arguments.dry_run:
            with BuildProgress() as progress:
                foreseen = forecast(source, arguments.out, recipe=recipe, listeners=(progress,), **options)
            summaries.append(foreseen)
            print(describe_forecast(foreseen, arguments.out))
            continue
        log_name = f"{recipe.name}-{arguments.name or Path(source).name}"
        with (
            BuildLog(_log_folder(arguments), log_name, command) as log,
            BuildProgress() as progress,
            Interrupts() as interrupts,
        ):
            summary = build_lake(source, arguments.out, recipe=recipe, listeners=(progress, log, interrupts), **options)
            log.write(str(summary))
        summaries.append(summary)
        print(describe(summary, arguments.out))
        if not summary.already:
            print(f"  log: {log.path}")
    return SKIPPED_WITH_STRICT if arguments.strict and any(s.reasons for s in summaries) else 0


def _sources(arguments: argparse.Namespace) -> list[str]:
    if arguments.sample:
        return _sample(arguments.out)
    if arguments.releases:
        found = [find_release(r, mini=arguments.mini, data_dir=arguments.data_dir) for r in arguments.releases]
        for release, source in zip(arguments.releases, found, strict=True):
            print(f"{release}: {source}", file=sys.stderr)
        return found
    return list(arguments.source)


def _sample(out: str) -> list[str]:
    from eegzarr.sample import write_sample

    if "://" in out:
        raise UsageError("--sample writes its recordings beside the lake: give a local --out")
    folder = Path(out).with_name(f"{Path(out).name}.sample")
    write_sample(folder)
    return [str(folder)]


def _log_folder(arguments: argparse.Namespace) -> Path:
    if arguments.log_dir:
        return Path(arguments.log_dir)
    return Path("eegzarr.logs") if "://" in arguments.out else Path(f"{arguments.out.rstrip('/')}.logs")


def describe(summary: BuildSummary, lake: str) -> str:
    """Return what a build made, in a few lines."""
    ratio = summary.decoded_nbytes / max(1, summary.nbytes)
    lines = [
        f"{lake}/{summary.group}: {'was already complete' if summary.already else 'complete'}",
        f"  {summary.windows:,} windows of {summary.subjects} subjects from {summary.built} recordings",
        f"  {summary.nbytes / 1e6:,.1f} MB, {ratio:.2f} times smaller than in memory",
    ]
    if summary.seconds and not summary.peak_memory:
        lines.append(f"  {summary.seconds:.1f} s")
    elif summary.seconds:
        limit = f" of {summary.memory_limit / 2**20:,.0f} MiB" if summary.memory_limit else ", without the cluster's"
        lines.append(f"  {summary.seconds:.1f} s; peak memory {summary.peak_memory / 2**20:,.0f} MiB{limit}")
    if summary.dropped:
        lines.append(f"  {summary.dropped} trials left out: their window would leave the recording")
    if summary.invalid:
        lines.append(f"  {summary.invalid} windows marked invalid: their signal could not be read")
    if summary.reasons:
        lines.append(f"  {sum(summary.reasons.values())} of {summary.recordings} recordings need a look:")
        lines += [f"    {count} x {reason}" for reason, count in summary.reasons.most_common()]
    return "\n".join(lines)


def describe_forecast(foreseen: Forecast, lake: str) -> str:
    """Return what a build would make, and every recording that it would skip."""
    left = foreseen.shards - foreseen.finished
    limit = f" of {foreseen.memory_limit / 2**20:,.0f} MiB" if foreseen.memory_limit else ""
    lines = [
        f"{lake}/{foreseen.group} would hold",
        f"  {foreseen.windows:,} windows of {foreseen.subjects} subjects from {foreseen.built} recordings",
        f"  {foreseen.decoded_nbytes / 1e6:,.1f} MB before compression, in {foreseen.shards} shards, {left} to write",
        f"  {foreseen.workers} workers; projected memory {foreseen.projected_memory / 2**20:,.0f} MiB{limit}",
    ]
    if foreseen.dropped:
        lines.append(f"  {foreseen.dropped} trials left out: their window would leave the recording")
    if foreseen.skipped:
        lines.append(f"  {len(foreseen.skipped)} of {foreseen.recordings} recordings skipped:")
        lines += [f"    {path}: {reason}" for path, reason in foreseen.skipped]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
