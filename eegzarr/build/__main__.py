"""Build a lake: ``python -m eegzarr.build SOURCE LAKE``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from eegzarr.amounts import counted, duration, memory, size
from eegzarr.build.api import build_lake, forecast
from eegzarr.build.foreseen.lines import class_lines, left_out_lines, lines_of
from eegzarr.build.workers.ahead import imported_ahead
from eegzarr.challenge.releases import find_release
from eegzarr.cli.run import Command, Invocation
from eegzarr.cli.signature import options_of
from eegzarr.errors import UsageError, redacted
from eegzarr.recipes.load import as_recipe

if TYPE_CHECKING:
    from eegzarr.build.summary import BuildSummary, Forecast

SKIPPED_WITH_STRICT = 3
_MOST_NOTES = 12  # that are printed


@options_of(build_lake, leave_out=("listeners", "windows"))
def build(
    *places: Annotated[str, Parameter(name="SOURCE ... LAKE")],
    source: tuple[str, ...] = (),
    releases: tuple[str, ...] = (),
    sample: bool = False,
    out: Annotated[str | None, Parameter(alias="-o", metavar="LAKE")] = None,
    windows: Annotated[Path | None, Parameter(metavar="TABLE.tsv")] = None,
    dry_run: bool = False,
    strict: bool = False,
    log_dir: Path | None = None,
    mini: bool = False,
    data_dir: str | None = None,
    invocation: Annotated[Invocation, Parameter(parse=False)],
    **options: Any,
) -> int:
    """Cut recordings into labelled windows and write them into a lake.

    A build that was stopped continues where it was when the same command is given again.

    Parameters
    ----------
    places
        BIDS datasets, folders or URLs, each of which becomes a release of the lake, and the lake to write to.
    source
        The datasets, as an option.
    releases
        Releases of HBN-EEG by name, such as R1 R2, instead of a source; see --mini and --data-dir.
    sample
        A small simulated dataset, made beside the lake, instead of a source.
    out
        The lake, as an option; its other groups are left alone.
    windows
        A table of windows in place of the recordings' events: a column recording (path in the source) or subject,
        session, task, run; onset in s; duration in s where it has one; every other column becomes a label.
    dry_run
        Print what would be built and skipped, without reading a signal.
    strict
        Exit with 3 if any recording was skipped.
    log_dir
        Folder for log files. Default: LAKE.logs, ./eegzarr.logs for a URL.
    mini
        With --releases: the challenge's selection of 20 subjects of each.
    data_dir
        With --releases: where they are looked for before the public bucket is read.
    """
    given, lake = _places(places, source, out, is_named=bool(releases or sample))
    if sum(map(bool, (given, releases, sample))) != 1:
        raise UsageError("give one of SOURCE, --releases and --sample, as in eegzarr build SOURCE LAKE")
    if (mini or data_dir) and not releases:
        raise UsageError("--mini and --data-dir go with --releases")
    if options.get("name") and len(given or releases) > 1:
        raise UsageError("--name names one release: give one source with it")
    options |= {} if windows is None else {"windows": windows}
    summaries: list[BuildSummary | Forecast] = []
    is_local = not (options.get("scheduler") or options.get("scheduler_file"))
    with imported_ahead() if is_local else nullcontext():
        given = (_sample(lake),) if sample else given or _found(releases, mini, data_dir)
        for root in given:
            if dry_run:
                summaries.append(_foresee(root, lake, options))
            else:
                summaries.append(_build(root, lake, options, log_dir, str(invocation)))
    every = [one for summary in summaries for one in (summary, *summary.others)]
    return SKIPPED_WITH_STRICT if strict and any(summary.reasons for summary in every) else 0


def _places(
    places: tuple[str, ...], source: tuple[str, ...], out: str | None, *, is_named: bool
) -> tuple[tuple[str, ...], str]:
    """Return the sources and the lake, given by their place, as options, or one of each."""
    if out is None:
        if not places:
            raise UsageError("name the lake to write to, as in eegzarr build SOURCE LAKE")
        *places_of_sources, out = places
        places = tuple(places_of_sources)
    if places and source:
        raise UsageError(f"give sources by --source or by their place, not both: {' '.join(places)}")
    if places and is_named:
        raise UsageError(f"--releases and --sample go without SOURCE, got {' '.join(places)}")
    return tuple(places or source), out


def _found(releases: tuple[str, ...], mini: bool, data_dir: str | None) -> tuple[str, ...]:
    found = tuple(find_release(release, mini=mini, data_dir=data_dir) for release in releases)
    for release, source in zip(releases, found, strict=True):
        print(f"{release}: {source}", file=sys.stderr)
    return found


def _sample(out: str) -> str:
    from eegzarr.sample.write import write_sample

    if "://" in out:
        raise UsageError("--sample writes its recordings beside the lake: give a local --out")
    return str(write_sample(Path(out).with_name(f"{Path(out).name}.sample")))


def _foresee(source: str, lake: str, options: dict[str, Any]) -> Forecast:
    from eegzarr.watch.progress import BuildProgress

    with BuildProgress() as progress:
        foreseen = forecast(source, lake, **options, listeners=(progress,))
    print("\n".join(describe_forecast(one, lake) for one in (foreseen, *foreseen.others)))
    return foreseen


def _build(source: str, lake: str, options: dict[str, Any], log_dir: Path | None, command: str) -> BuildSummary:
    from eegzarr.watch.interrupts import Interrupts
    from eegzarr.watch.log import BuildLog
    from eegzarr.watch.progress import BuildProgress

    recipe = as_recipe(options.get("recipe", "challenge1"))
    log_name = f"{recipe.name}-{options.get('name') or Path(source).name}"
    with (
        BuildLog(log_dir or _log_folder(lake), log_name, command) as log,
        BuildProgress() as progress,
        Interrupts() as interrupts,
    ):
        summary = build_lake(source, lake, **options, listeners=(progress, log, interrupts))
        log.write(str(summary))
    print("\n".join(describe(one, lake) for one in (summary, *summary.others)))
    if not summary.already:
        print(f"  log: {log.path}")
    return summary


def _log_folder(lake: str) -> Path:
    return Path("eegzarr.logs") if "://" in lake else Path(f"{lake.rstrip('/')}.logs").expanduser()


def describe(summary: BuildSummary, lake: str) -> str:
    """Return what a build made, in a few lines."""
    ratio = summary.decoded_nbytes / max(1, summary.nbytes)
    done = "was already complete" if summary.already else "complete"
    done = "labels were written again, no shard was" if summary.relabelled else done
    lines = [
        f"{redacted(lake)}/{summary.group}: {done}",
        f"  {_windows_of(summary)}",
        f"  {size(summary.nbytes)}, {ratio:.2f} times smaller than uncompressed",
    ]
    if summary.seconds and not summary.peak_memory:
        lines.append(f"  {duration(summary.seconds)}")
    elif summary.seconds:
        limit = f" of {memory(summary.memory_limit)}" if summary.memory_limit else ", without the cluster's"
        lines.append(f"  {duration(summary.seconds)}; peak memory {memory(summary.peak_memory)}{limit}")
    lines += [f"  {line}" for line in class_lines(summary.classes)]
    lines += _losses(summary)
    if summary.invalid:
        lines.append(f"  {counted(summary.invalid, 'window')} marked invalid: the signal could not be read")
    if summary.smallest_step:
        lines.append(f"  --step {summary.smallest_step:g}uV would hold all windows that are too large for this one")
    if summary.reasons:
        lines.append(f"  {_to_look_at(summary)}:")
        lines += [f"    {count} x {reason}" for reason, count in summary.reasons.most_common()]
    return "\n".join(lines)


def _windows_of(group: BuildSummary | Forecast) -> str:
    """Return how much a group holds, or would hold."""
    return (
        f"{counted(group.windows, 'window')} of {counted(group.subjects, 'subject')} "
        f"from {counted(group.built, 'recording')}"
    )


def _to_look_at(group: BuildSummary | Forecast) -> str:
    """Return how many recordings gave no windows, or fewer than they should."""
    number = sum(group.reasons.values())
    return f"{number:,} of {counted(group.recordings, 'recording')} {'needs' if number == 1 else 'need'} a look"


def _losses(made: BuildSummary) -> list[str]:
    """Return what was left out, and what of the source's tables was renamed, assumed or couldn't be read."""
    return [f"  {line}" for line in (*left_out_lines(made.dropped, made.left_out, made.noun), *_first(made.notes))]


def _first(notes: Sequence[str]) -> list[str]:
    more = f"and {counted(len(notes) - _MOST_NOTES, 'more note')}, in the attribute notes of the group"
    return [*notes[:_MOST_NOTES], *([more] if len(notes) > _MOST_NOTES else [])]


def describe_forecast(foreseen: Forecast, lake: str) -> str:
    """Return what a build would make, and every recording that it would skip."""
    shards = f"{counted(foreseen.shards, 'shard')}, {foreseen.shards - foreseen.finished:,} to write"
    limit = f" of {memory(foreseen.memory_limit)}" if foreseen.memory_limit else ""
    lines = [
        f"{redacted(lake)}/{foreseen.group} would hold",
        f"  {_windows_of(foreseen)}",
        f"  {size(foreseen.decoded_nbytes)} before compression, in {shards}",
        *(["  only its labels would be written again"] if foreseen.only_labels else []),
        f"  {counted(foreseen.workers, 'worker')}; projected memory {memory(foreseen.projected_memory)}{limit}",
    ]
    found = foreseen.explanation
    lines += [f"  {line}" for line in lines_of(found, skipped=False)] if found is not None else []
    lines += [f"  {note}" for note in _first(foreseen.notes)]
    if foreseen.reasons:
        lines.append(f"  {_to_look_at(foreseen)}:")
        lines += [f"    {path}: {reason}" for path, reason in foreseen.skipped]
        others = foreseen.reasons - Counter(reason for _, reason in foreseen.skipped)
        lines += [f"    {count} x {reason}" for reason, count in others.most_common()]
    return "\n".join(lines)


main = Command(
    "eegzarr.build",
    build,
    usage="SOURCE ... LAKE [OPTIONS]",
    epilogue="Exit codes: 0 done; 1 failed; 2 usage; 3 built, but recordings were skipped and --strict was given; "
    "75 stopped by the memory guard or a full disk: run the same command again; 130 interrupted: run it again.",
)

if __name__ == "__main__":
    raise SystemExit(main())
