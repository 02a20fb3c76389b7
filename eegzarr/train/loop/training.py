"""A training loop that can be stopped anywhere and resumed as if it had not been.

What a step does depends on the options, the weights and the number of the step alone: batches on
(seed, epoch), dropout and augmentation on (seed, step), the learning rate on the step. A
checkpoint therefore holds the weights, the optimizer, where the stream is and the scores so far,
and a resumed run takes the very steps that the uninterrupted one would have taken.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

from eegzarr.errors import BatchTooLarge, FitDiverged, FitInterrupted, FitStopped, UsageError
from eegzarr.events import EpochEnded, Listener, tell
from eegzarr.stream.stream import WindowStream
from eegzarr.train.loop.learner import Learner
from eegzarr.train.loop.parts import Parts
from eegzarr.train.loop.position import Position
from eegzarr.train.loop.ranks import Ranks
from eegzarr.train.loop.run import RunFolder, write_csv
from eegzarr.train.loop.stop import MemoryGuard, StopSignals
from eegzarr.train.loop.telling import Pace, Teller
from eegzarr.train.options import FitOptions, options_json
from eegzarr.train.scoring.evaluate import PartScore, epoch_stream, metric_of
from eegzarr.train.scoring.predict import EvaluationStream, Predictions, joined, predict
from eegzarr.train.scoring.results import score_best, write_results
from eegzarr.train.scoring.summary import FitSummary
from eegzarr.train.task import Task

_AHEAD = 4  # batches decoded ahead, until memory runs short


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Who watches a fit, and what may stop it.

    Attributes
    ----------
    interval : float
        Seconds between checkpoints.
    """

    watchers: tuple[Listener, ...]
    signals: StopSignals
    guard: MemoryGuard
    interval: float


@dataclass(frozen=True, kw_only=True)
class Streams:
    """What a fit reads.

    Attributes
    ----------
    train : WindowStream
        This process's share of the shuffled batches.
    evaluated : dict of str to EvaluationStream
        ``valid`` and, unless a release is the validation part, ``test``.
    each_epoch : EvaluationStream
        What an epoch is scored on: ``valid``, or some windows of it; of these this process's share.
    batches : int
        Of this process, between two validations.
    """

    train: WindowStream
    evaluated: dict[str, EvaluationStream]
    each_epoch: EvaluationStream
    batches: int

    def pass_and_batch(self, number: int) -> tuple[int, int]:
        """Return the pass over the training part that a step belongs to, and the batches done of it before.

        Epochs that are shorter than a pass continue where the last one ended: every window is seen before any
        is seen twice.
        """
        return divmod(number, len(self.train))

    def windows(self) -> dict[str, str]:
        """Return a digest of the windows of each part, to tell whether they are still the same."""
        streams = {"train": self.train, **{part: scored.stream for part, scored in self.evaluated.items()}}
        return {part: str(stream.state_dict()["selection"]) for part, stream in streams.items()}

    def resume(self, state: dict[str, Any], windows: dict[str, str]) -> None:
        """Take the order that a checkpoint's stream had: where memory decides about it, this machine's may differ.

        Raises
        ------
        UsageError
            If the windows of a part are others.
        """
        own = self.windows()
        if other := [part for part in {**own, **windows} if own.get(part) != windows.get(part)]:
            raise UsageError(
                f"the windows of the parts {' and '.join(other)} aren't those that the run began with: labels, or "
                "the split of the lake, were changed since. Start a new run"
            )
        self.train.load_state_dict(state)


class Training:
    """A fit between its steps: what learns, how far it is, and what may stop it.

    Parameters
    ----------
    options : FitOptions
    folder : RunFolder
    parts : Parts
    ranks : Ranks
    streams : Streams
    surroundings : Surroundings
    learner : Learner
    position : Position
        Where to begin, or to go on.
    seconds_before : float
        That earlier processes worked on the run.
    """

    def __init__(
        self,
        *,
        options: FitOptions,
        folder: RunFolder,
        parts: Parts,
        ranks: Ranks,
        streams: Streams,
        surroundings: Surroundings,
        learner: Learner,
        position: Position,
        seconds_before: float = 0.0,
    ) -> None:
        self.options, self.folder, self.parts, self.ranks = options, folder, parts, ranks
        self.streams, self.stream, self.batches = streams, streams.train, streams.batches
        self.watchers, self.interval = surroundings.watchers, surroundings.interval
        self.signals, self.guard = surroundings.signals, surroundings.guard
        self.learner, self.position = learner, position
        self.device = ranks.device
        self.task = Task.from_spec(learner.spec)
        self.began, self.seconds_before = time.monotonic(), seconds_before
        self.saved_at = self.began
        self.ahead = _AHEAD
        self.pace = Pace()
        self.teller = Teller(self.watchers, options, parts, ranks, self.batches)

    def run(self) -> FitSummary:
        """Take all steps that are left, then score the best model."""
        network, windows = self.learner.spec["network"], {n: s.n_windows for n, s in self.streams.evaluated.items()}
        for note in self.learner.notes:
            self.teller.notice(note)
        self.teller.begin(str(self.folder.path), network, {"train": self.stream.n_windows} | windows, self.position)
        while self.position.is_left_to_train(self.options.epochs, self.options.patience):
            self._train_epoch()
            self._end_epoch()
        return self._summarize()

    def _train_epoch(self) -> None:
        """Take the steps that are left of this epoch, from one pass over the training part, or from two."""
        self.pace = Pace()
        while self.position.batch < self.batches:
            if not self._take_steps():
                self._look_ahead_less()

    def _take_steps(self) -> bool:
        """Take steps up to the end of the epoch or pass, or, where memory runs short, return False."""
        position, pace = self.position, self.pace
        self.learner.core.train()
        self.stream.load_state_dict(self._stream_state())
        asked = time.monotonic()
        batches = iter(self.stream)
        try:
            for x, y in batches:
                pace.waited += time.monotonic() - asked
                number = position.epoch * self.batches + position.batch
                loss = self.learner.step(x, y, number, self.options.epochs * self.batches)
                position.loss_sum += loss.double()
                position.batch += 1
                pace.taken += len(y)
                self.teller.batch_ended(position, loss, pace, self.guard)
                if position.batch == self.batches:
                    return True
                self._save_now_and_then()
                self._stop_if_told()
                if self.ranks.any(self.guard.is_exceeded):
                    return False
                asked = time.monotonic()
        finally:
            batches.close()  # type: ignore[attr-defined]
        return True

    def _end_epoch(self) -> None:
        """Score the epoch, keep it if it is the best, and save."""
        position, pace, trained = self.position, self.pace, self.pace.seconds
        mean_loss = self.ranks.mean(float(position.loss_sum) / self.batches)
        if not math.isfinite(mean_loss):
            raise self._diverged("its loss is no longer a number")
        score = self._score()
        if not math.isfinite(score):
            raise self._diverged("its validation score is no longer a number")
        self._stop_if_told()
        if position.take_score(score, self.task.is_better) and self.ranks.is_first:
            best = {**self.learner.weights(), "epoch": position.epoch, "valid_score": score}
            self.folder.save(best, self.folder.best)
        ended = EpochEnded(
            epoch=position.epoch,
            epochs=self.options.epochs,
            train_loss=mean_loss,
            metric=self.task.metric,
            valid_score=score,
            best_score=position.best,
            learning_rate=self.learner.learning_rate,
            windows_per_second=pace.taken * self.ranks.count / trained,
            share_waiting=pace.waited / trained,
            seconds=self._seconds(),
        )
        position.end_epoch(asdict(ended))
        self._save()
        if self.ranks.is_first:
            write_csv(self.folder.metrics, position.history)
        tell(self.watchers, ended)

    def _score(self) -> float:
        """Return the metric of the model as it is on the validation part; each process predicts a share of it."""
        model, precision, stream = self.learner.judged, self.learner.precision, self.streams.each_epoch
        self.ranks.give_weights(model)  # statistics of batches are each process's own
        mine: list[Predictions] = []
        if stream.batches:
            mine = [predict(model, stream, self.device, precision=precision, between=self._stop_if_alone)]
        shares = self.ranks.gathered(mine)
        score = float("inf")
        if self.ranks.is_first:
            score = metric_of(joined([one for share in shares for one in share]), self.task)
        return self.ranks.from_first(score if math.isfinite(score) else float("inf"))

    def _diverged(self, reason: str) -> FitDiverged:
        """Note that the run diverged; return the error to raise."""
        position = self.position
        best = f"; best.pt is of epoch {position.best_epoch}" if position.best_epoch >= 0 else ""
        error = FitDiverged(
            f"{self.folder.path} diverged in epoch {position.epoch}: {reason}{best}. Start a new run with a lower "
            f"--learning-rate, as in --config {self.folder.config} --learning-rate {self.options.learning_rate / 4:.2g}"
        )
        if self.ranks.is_first:
            self.folder.diverged.write_text(f"{error}\n", encoding="utf8")
        return error

    def _stop_if_told(self) -> None:
        """Save and raise if a signal came, to any process."""
        if self.ranks.any(self.signals.requested is not None):
            self._save()
            epoch, batch = self.position.epoch, self.position.batch
            raise FitInterrupted(
                f"{self.signals.requested or 'a signal'} came in epoch {epoch}, after batch {batch} of {self.batches}; "
                f"resume with --resume {self.folder.path}"
            )

    def _stop_if_alone(self) -> None:
        # Others may be elsewhere: what they don't do can't be agreed on.
        if self.ranks.count == 1:
            self._stop_if_told()

    def _look_ahead_less(self) -> None:
        """Answer a shortage of memory: decode less ahead, and if that is done already, save and stop."""
        in_use = f"{self.guard.share:.0%} of the"
        if self.ahead > 1:
            self.ahead = 1
            self.stream.set_ahead(1)
            self.guard.begin_again()
            self.teller.notice(f"{in_use} memory is in use: one batch is decoded ahead, not {_AHEAD}")
            return
        self._save()
        raise FitStopped(
            f"{in_use} machine's memory is in use, more than --max-memory; this run has "
            f"{self.guard.tree / 2**30:.1f} GiB of it. Free some and resume with --resume {self.folder.path}"
        )

    def _save_now_and_then(self) -> None:
        if self.ranks.is_first and time.monotonic() - self.saved_at >= self.interval:
            self._save()

    def _stream_state(self) -> dict[str, Any]:
        number = self.position.epoch * self.batches + self.position.batch
        epoch, batch = self.streams.pass_and_batch(number)
        return self.stream.state_at(epoch, batch * self.ranks.count)

    def _save(self) -> None:
        if not self.ranks.is_first:
            return
        state = self.learner.state() | self.position.state()
        state |= {"stream": self._stream_state(), "windows": self.streams.windows(), "seconds": self._seconds()}
        state |= {"options": options_json(self.options), "processes": self.ranks.count}
        self.folder.save(state, self.folder.last)
        self.saved_at = time.monotonic()

    def _summarize(self) -> FitSummary:
        """Score the best epoch's model and write all that a finished run has."""
        options, folder, learner, position = self.options, self.folder, self.learner, self.position
        scores: dict[str, PartScore] = {}
        if self.ranks.is_first:
            evaluated = self.streams.evaluated
            scores = score_best(folder, self.parts, evaluated, self.device, self._stop_if_alone)
        summary = FitSummary(
            run=str(folder.path),
            recipe=options.recipe,
            model=learner.spec["network"],
            device=str(self.device),
            notes=(*self.parts.notes, *self.learner.notes),
            train_windows=self.stream.n_windows,
            epochs=len(position.history),
            best_epoch=position.best_epoch,
            scores=scores,
            seconds=self._seconds(),
            peak_memory=self.guard.peak,
        )
        if self.ranks.is_first:
            write_results(summary, position.history, options, folder)
        return summary

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.began


def training_streams(
    options: FitOptions, parts: Parts, evaluated: dict[str, EvaluationStream], ranks: Ranks
) -> Streams:
    """Return what a fit reads.

    Raises
    ------
    BatchTooLarge
        If the training part doesn't fill a batch for each process.
    """
    if options.accumulate > 1 and options.step_windows > parts.train.sizes["window"]:
        raise BatchTooLarge(
            f"--batch-size {options.batch_size} times --accumulate {options.accumulate} is more than the "
            f"{parts.train.sizes['window']} windows to train on"
        )
    train = _training_stream(options, parts, ranks, drop_last=not options.epoch_windows)
    if not train.drop_last and train.n_windows % options.batch_size == 1:
        # No batch of a single window, which has no variance to normalise by.
        train = _training_stream(options, parts, ranks, drop_last=True)
    if not len(train) or train.n_windows < options.step_windows:
        raise BatchTooLarge(
            f"--batch-size {options.batch_size} is larger than the {train.n_windows} windows to train on"
            + (f" allow for {ranks.count} processes" if ranks.count > 1 else "")
        )
    batches = len(train)
    if options.epoch_windows:
        batches = min(batches, max(1, options.epoch_windows // (options.step_windows * ranks.count)))
    each_epoch = epoch_stream(
        parts, evaluated, options.batch_size, options.valid_windows, rank=ranks.rank, ranks=ranks.count
    )
    return Streams(train=train, evaluated=evaluated, each_epoch=each_epoch, batches=batches)


def _training_stream(options: FitOptions, parts: Parts, ranks: Ranks, drop_last: bool) -> WindowStream:
    return parts.given.stream(
        parts.train,
        options.step_windows,
        shuffle=True,
        seed=options.seed,
        balance=options.balance or None,
        crop=options.crop_seconds,
        drop_last=drop_last,
        ahead=_AHEAD,
        pin_memory=ranks.device.type == "cuda",
        rank=ranks.rank,
        ranks=ranks.count,
    )
