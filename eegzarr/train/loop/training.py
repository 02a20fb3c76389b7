"""A training loop that can be stopped anywhere and goes on as if it had not been.

What a step does depends on the options, the weights and the number of the step alone: batches on
(seed, epoch), dropout and augmentation on (seed, step), the learning rate on the step. A
checkpoint therefore holds the weights, the optimizer, where the stream is and the scores so far,
and a resumed run takes the very steps that the uninterrupted one would have taken.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from eegzarr.errors import FitDiverged, FitInterrupted, FitStopped, UsageError
from eegzarr.events import EpochEnded, Listener, tell
from eegzarr.stream.stream import WindowStream
from eegzarr.train.loop.learner import Learner
from eegzarr.train.loop.parts import Parts
from eegzarr.train.loop.position import Position
from eegzarr.train.loop.ranks import Ranks
from eegzarr.train.loop.run import RunFolder, write_csv
from eegzarr.train.loop.stop import MemoryGuard, StopSignals
from eegzarr.train.loop.telling import Pace, Teller
from eegzarr.train.options import FitOptions
from eegzarr.train.score.evaluate import PartScore
from eegzarr.train.score.metrics import nrmse
from eegzarr.train.score.predict import evaluation_stream, predict
from eegzarr.train.score.results import FitSummary, score_best, write_results

_AHEAD = 4  # batches decoded ahead, until memory runs short


class Training:
    """A fit between its steps: what learns, how far it is, and what may stop it."""

    def __init__(
        self,
        options: FitOptions,
        folder: RunFolder,
        parts: Parts,
        ranks: Ranks,
        watchers: tuple[Listener, ...],
        signals: StopSignals,
        guard: MemoryGuard,
        interval: float,
    ) -> None:
        self.options, self.folder, self.parts, self.ranks = options, folder, parts, ranks
        self.watchers, self.signals, self.guard, self.interval = watchers, signals, guard, interval
        self.device = ranks.device
        self.began, self.seconds_before = time.monotonic(), 0.0
        self.stream = _training_stream(options, parts, ranks)
        self.valid = evaluation_stream(parts.valid, options.batch_size)
        self.batches = len(self.stream)
        if options.epoch_windows:
            self.batches = min(self.batches, options.epoch_windows // options.batch_size)
        self.learner = Learner(options, parts, ranks)
        self.position = Position()
        self.teller = Teller(watchers, options, parts, ranks, self.batches)

    def run(self) -> FitSummary:
        """Take all steps that are left, then score the best model."""
        self._start_or_restore()
        network = self.learner.spec["network"]
        self.teller.begin(str(self.folder.path), network, self.stream.n_windows, self.valid.n_windows, self.position)
        while self.position.is_left_to_train(self.options.epochs, self.options.patience):
            self._train_epoch()
            self._end_epoch()
        return self._summarize()

    def _start_or_restore(self) -> None:
        saved = None
        if self.folder.last.exists():
            self._check_lake()
            saved = torch.load(self.folder.last, map_location="cpu", weights_only=True)
        self.learner.begin(self.parts, self.stream, saved)
        self.stream.set_epoch(0)
        if saved is not None:
            self.stream.load_state_dict(saved["stream"])
            self.position = Position.of(saved)
            self.seconds_before = saved["seconds"]
        self.saved_at = time.monotonic()
        self.ahead = _AHEAD

    def _train_epoch(self) -> None:
        """Take the steps that are left of this epoch."""
        self.pace = Pace()
        while self.position.batch < self.batches:
            if not self._take_steps():
                self._look_ahead_less()

    def _take_steps(self) -> bool:
        """Take steps up to the end of the epoch, or, where memory runs short, return False."""
        position, pace = self.position, self.pace
        self.learner.core.train()
        asked = time.monotonic()
        batches = iter(self.stream)
        try:
            for x, y in batches:
                pace.waited += time.monotonic() - asked
                number = position.epoch * self.batches + position.batch
                # A copy that doesn't block could still be under way when its buffer is filled again.
                x, y = x.to(self.device), y.to(self.device)
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
        if not np.isfinite(mean_loss):
            raise FitDiverged(
                f"the loss of epoch {position.epoch} is no number any more: "
                "start a new run with a lower --learning-rate"
            )
        score = self._score()
        self._stop_if_told()
        if position.take_score(score) and self.ranks.is_first:
            best = {**self.learner.weights(), "epoch": position.epoch, "valid_nrmse": score}
            self.folder.save(best, self.folder.best)
        ended = EpochEnded(
            epoch=position.epoch,
            epochs=self.options.epochs,
            train_loss=mean_loss,
            valid_nrmse=score,
            best_nrmse=position.best,
            learning_rate=self.learner.learning_rate,
            windows_per_second=pace.taken * self.ranks.count / trained,
            share_waiting=pace.waited / trained,
            seconds=self._seconds(),
        )
        position.end_epoch(asdict(ended))
        self.stream.set_epoch(position.epoch)
        self._save()
        if self.ranks.is_first:
            write_csv(self.folder.metrics, position.history)
        tell(self.watchers, ended)

    def _score(self) -> float:
        """Return the NRMSE of the model, as it is, on the validation part."""
        score = float("inf")
        if self.ranks.is_first:
            model, precision = self.learner.model, self.learner.precision
            predicted = predict(model, self.valid, self.device, precision=precision, between=self._stop_if_alone)
            score = nrmse(predicted.target, predicted.prediction)
        return self.ranks.from_first(score)

    def _stop_if_told(self) -> None:
        """Save and raise if a signal came, to any process."""
        if self.ranks.any(self.signals.requested is not None):
            self._save()
            epoch, batch = self.position.epoch, self.position.batch
            raise FitInterrupted(
                f"{self.signals.requested or 'a signal'} came in epoch {epoch}, after batch {batch} of {self.batches}; "
                f"go on with --resume {self.folder.path}"
            )

    def _stop_if_alone(self) -> None:
        # Other processes wait for a score: what they don't do can't be agreed on.
        if self.ranks.count == 1:
            self._stop_if_told()

    def _look_ahead_less(self) -> None:
        """Answer a shortage of memory: decode less ahead, and if that is done already, save and stop."""
        in_use = f"{self.guard.share:.0%} of the"
        if self.ahead > 1:
            self.ahead = 1
            self.stream.set_ahead(1)
            self.stream.load_state_dict(self._stream_state())
            self.guard.begin_again()
            self.teller.notice(f"{in_use} memory is in use: one batch is decoded ahead, not {_AHEAD}")
            return
        self._save()
        raise FitStopped(
            f"{in_use} machine's memory is in use, more than --max-memory; this run has "
            f"{self.guard.tree / 2**30:.1f} GiB of it. Free some and go on with --resume {self.folder.path}"
        )

    def _save_now_and_then(self) -> None:
        if self.ranks.is_first and time.monotonic() - self.saved_at >= self.interval:
            self._save()

    def _stream_state(self) -> dict[str, Any]:
        position = self.position
        return {"seed": self.options.seed, "epoch": position.epoch, "batches": position.batch * self.ranks.count}

    def _save(self) -> None:
        if not self.ranks.is_first:
            return
        state = self.learner.state() | self.position.state()
        state |= {"stream": self._stream_state(), "seconds": self._seconds()}
        self.folder.save(state, self.folder.last)
        self.saved_at = time.monotonic()

    def _check_lake(self) -> None:
        before = self.folder.read_json(self.folder.config)["plan_digests"]
        if before != self.parts.plan_digests:
            raise UsageError(
                f"{self.options.lake} was built anew or has other releases since {self.folder.path} began: "
                f"start a new run with --config {self.folder.config}"
            )

    def _summarize(self) -> FitSummary:
        """Score the best epoch's model and write all that a finished run has."""
        options, folder, learner, position = self.options, self.folder, self.learner, self.position
        scores: dict[str, PartScore] = {}
        if self.ranks.is_first:
            scores = score_best(folder, self.parts, options, self.device, learner.precision, self._stop_if_alone)
        summary = FitSummary(
            run=str(folder.path),
            recipe=options.recipe,
            model=learner.spec["network"],
            device=str(self.device),
            notes=self.parts.notes,
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


def _training_stream(options: FitOptions, parts: Parts, ranks: Ranks) -> WindowStream:
    return WindowStream(
        parts.train,
        options.batch_size,
        shuffle=True,
        seed=options.seed,
        crop=options.crop_seconds,
        drop_last=True,
        ahead=_AHEAD,
        pin_memory=ranks.device.type == "cuda",
        rank=ranks.rank,
        ranks=ranks.count,
    )
