"""Fit a model to a lake: a loop that can be stopped anywhere and goes on as if it had not been.

What a step does depends on the options, the weights and the number of the step alone: batches on
(seed, epoch), dropout and augmentation on (seed, step), the learning rate on the step. A
checkpoint therefore holds the weights, the optimizer, where the stream is and the scores so far,
and a resumed run takes the very steps that the uninterrupted one would have taken.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eegzarr.errors import FitDiverged, FitInterrupted, FitStopped, UsageError
from eegzarr.events import BatchEnded, EpochEnded, FitBegan, FitEnded, Listener, MemorySampled, Noticed, tell
from eegzarr.train.evaluate import PartScore
from eegzarr.train.learner import Learner
from eegzarr.train.metrics import nrmse
from eegzarr.train.optimize import choose_device
from eegzarr.train.options import FitOptions
from eegzarr.train.parts import Parts, make_parts
from eegzarr.train.predict import evaluation_stream, predict
from eegzarr.train.ranks import Ranks, joined_ranks, local_rank
from eegzarr.train.results import FitSummary, score_best, write_results
from eegzarr.train.run import RunFolder, write_csv
from eegzarr.train.stop import MemoryGuard, StopSignals
from eegzarr.train.stream import WindowStream

_AHEAD = 4  # batches decoded ahead, until memory runs short
_TELL_INTERVAL = 0.25  # s between events: reading the loss waits for a GPU


def fit(
    options: FitOptions,
    run: str | Path,
    listeners: Iterable[Listener] = (),
    *,
    checkpoint_interval: float = 60.0,
    max_memory: float = 0.85,
) -> FitSummary:
    """Train a model on subjects, keep the epoch that predicts unseen subjects best, and score it.

    Parameters
    ----------
    options : FitOptions
    run : path
        Folder to write; see `eegzarr.train.run.RunFolder`.
    listeners : iterable of callable
        Called with events of `eegzarr.events`.
    checkpoint_interval : float
        Seconds of training that a killed process loses at most.
    max_memory : float
        Share of the machine's memory in use above which look-ahead shrinks, and then the fit stops.

    Raises
    ------
    UsageError
        If an option or the lake's windows don't allow it; nothing is written then.
    LakeError
        If the lake can't be read.
    FitStopped, FitInterrupted
        If memory ran short or a signal came; its state is saved and `resume` goes on.
    """
    folder = RunFolder(run)
    if folder.is_begun:
        raise UsageError(f"--out {run} holds a run: go on with --resume {run}, or give another folder")
    return _fit(options, folder, tuple(listeners), checkpoint_interval, max_memory)


def resume(
    run: str | Path,
    listeners: Iterable[Listener] = (),
    *,
    checkpoint_interval: float = 60.0,
    max_memory: float = 0.85,
) -> FitSummary:
    """Go on with a run where its last checkpoint is; as `fit`, with the run's own options.

    Raises
    ------
    UsageError
        If there is no run, it is finished, or its lake has changed.
    """
    folder = RunFolder(run)
    options = folder.options()
    if folder.is_finished:
        raise UsageError(f"{run} is finished: its scores are in {folder.summary}")
    return _fit(options, folder, tuple(listeners), checkpoint_interval, max_memory)


def _fit(
    options: FitOptions, folder: RunFolder, watchers: tuple[Listener, ...], interval: float, max_memory: float
) -> FitSummary:
    if options.threads:
        torch.set_num_threads(options.threads)
    options = replace(options, threads=torch.get_num_threads())
    device = choose_device(options.device, local_rank())
    parts = make_parts(options)
    with joined_ranks(device) as ranks:
        watchers = watchers if ranks.is_first else ()
        training = _Training(options, folder, parts, ranks, watchers, interval)
        if ranks.is_first and not folder.is_begun:
            folder.begin(options, training.learner.spec, parts.subjects(), parts.plan_digests, device)
        with StopSignals() as signals, MemoryGuard(max_memory) as guard:
            if not ranks.is_first:
                return training.run(signals, guard)
            with folder.locked():
                try:
                    summary = training.run(signals, guard)
                except BaseException as error:
                    tell(watchers, FitEnded(finished=False, reason=str(error) or type(error).__name__))
                    raise
                tell(watchers, FitEnded(finished=True, reason="finished"))
                return summary


class _Training:
    """A fit between its steps: the model, the optimizer, and how far they are."""

    def __init__(
        self,
        options: FitOptions,
        folder: RunFolder,
        parts: Parts,
        ranks: Ranks,
        watchers: tuple[Listener, ...],
        interval: float,
    ) -> None:
        self.options, self.folder, self.parts, self.ranks = options, folder, parts, ranks
        self.watchers, self.interval, self.device = watchers, interval, ranks.device
        self.began = time.monotonic()
        self.stream = _training_stream(options, parts, ranks)
        self.valid = evaluation_stream(parts.valid, options.batch_size)
        self.batches = len(self.stream)
        if options.epoch_windows:
            self.batches = min(self.batches, options.epoch_windows // options.batch_size)
        self.learner = Learner(options, parts, ranks)
        # How far it is; all of it is in a checkpoint.
        self.epoch = 0
        self.batch = 0  # done of this epoch
        self.loss_sum: float | torch.Tensor = 0.0
        self.best, self.best_epoch = float("inf"), -1
        self.history: list[dict[str, Any]] = []
        self.seconds_before = 0.0

    def run(self, signals: StopSignals, guard: MemoryGuard) -> FitSummary:
        """Take all steps that are left, then score the best model."""
        self._start_or_restore()
        self.signals, self.guard = signals, guard
        self._tell_begin()
        while self.epoch < self.options.epochs and self.epoch - 1 - self.best_epoch < self.options.patience:
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
            self._restore(saved)
        self.saved_at = time.monotonic()
        self.ahead = _AHEAD

    def _train_epoch(self) -> None:
        """Take the steps that are left of this epoch."""
        self.taken, self.waited, self.epoch_began = 0, 0.0, time.monotonic()
        while self.batch < self.batches:
            if not self._take_steps():
                self._look_ahead_less()

    def _take_steps(self) -> bool:
        """Take steps up to the end of the epoch, or, where memory runs short, return False."""
        self.learner.core.train()
        asked = time.monotonic()
        batches = iter(self.stream)
        try:
            for x, y in batches:
                self.waited += time.monotonic() - asked
                # A copy that doesn't block could still be under way when its buffer is filled again.
                number = self.epoch * self.batches + self.batch
                steps = self.options.epochs * self.batches
                loss = self.learner.step(x.to(self.device), y.to(self.device), number, steps)
                self.loss_sum += loss.double()
                self.batch += 1
                self.taken += len(y)
                self._tell_batch(loss)
                if self.batch == self.batches:
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
        trained = time.monotonic() - self.epoch_began
        mean_loss = self.ranks.mean(float(self.loss_sum) / self.batches)
        if not np.isfinite(mean_loss):
            raise FitDiverged(
                f"the loss of epoch {self.epoch} is no number any more: start a new run with a lower --learning-rate"
            )
        score = float("inf")
        if self.ranks.is_first:
            predicted = predict(
                self.learner.model,
                self.valid,
                self.device,
                precision=self.learner.precision,
                between=self._stop_if_alone,
            )
            score = nrmse(predicted.target, predicted.prediction)
        score = self.ranks.from_first(score)
        self._stop_if_told()
        if score < self.best:
            self.best, self.best_epoch = score, self.epoch
            if self.ranks.is_first:
                self.folder.save(
                    {**self.learner.weights(), "epoch": self.epoch, "valid_nrmse": score}, self.folder.best
                )
        ended = EpochEnded(
            epoch=self.epoch,
            epochs=self.options.epochs,
            train_loss=mean_loss,
            valid_nrmse=score,
            best_nrmse=self.best,
            learning_rate=self.learner.learning_rate,
            windows_per_second=self.taken * self.ranks.count / max(1e-9, trained),
            share_waiting=self.waited / max(1e-9, trained),
            seconds=self._seconds(),
        )
        self.history.append(asdict(ended))
        self.epoch, self.batch, self.loss_sum = self.epoch + 1, 0, 0.0
        self.stream.set_epoch(self.epoch)
        self._save()
        if self.ranks.is_first:
            write_csv(self.folder.metrics, self.history)
        tell(self.watchers, ended)

    def _stop_if_told(self) -> None:
        """Save and raise if a signal came, to any process."""
        if self.ranks.any(self.signals.requested is not None):
            self._save()
            raise FitInterrupted(
                f"{self.signals.requested or 'a signal'} came in epoch {self.epoch}, after batch {self.batch} of "
                f"{self.batches}; go on with --resume {self.folder.path}"
            )

    def _stop_if_alone(self) -> None:
        # Other processes wait for a score: what they don't do can't be agreed on.
        if self.ranks.count == 1:
            self._stop_if_told()

    def _look_ahead_less(self) -> None:
        """Answer a shortage of memory: decode less ahead, and if that is done already, save and stop."""
        if self.ahead > 1:
            self.ahead = 1
            self.stream.set_ahead(1)
            self.stream.load_state_dict(self._stream_state())
            self.guard.begin_again()
            tell(
                self.watchers,
                Noticed(
                    message=f"{self.guard.share:.0%} of the memory is in use: one batch is decoded ahead, not {_AHEAD}"
                ),
            )
            return
        self._save()
        raise FitStopped(
            f"{self.guard.share:.0%} of the machine's memory is in use, more than --max-memory; this run has "
            f"{self.guard.tree / 2**30:.1f} GiB of it. Free some and go on with --resume {self.folder.path}"
        )

    def _save_now_and_then(self) -> None:
        if self.ranks.is_first and time.monotonic() - self.saved_at >= self.interval:
            self._save()

    def _stream_state(self) -> dict[str, Any]:
        return {"seed": self.options.seed, "epoch": self.epoch, "batches": self.batch * self.ranks.count}

    def _save(self) -> None:
        if not self.ranks.is_first:
            return
        self.folder.save(
            {
                **self.learner.state(),
                "stream": self._stream_state(),
                "epoch": self.epoch,
                "batch": self.batch,
                "loss_sum": float(self.loss_sum),
                "best": self.best,
                "best_epoch": self.best_epoch,
                "history": self.history,
                "seconds": self._seconds(),
            },
            self.folder.last,
        )
        self.saved_at = time.monotonic()

    def _restore(self, saved: dict[str, Any]) -> None:
        self.stream.load_state_dict(saved["stream"])
        self.epoch, self.batch = saved["epoch"], saved["batch"]
        self.loss_sum, self.history = saved["loss_sum"], saved["history"]
        self.best, self.best_epoch = saved["best"], saved["best_epoch"]
        self.seconds_before = saved["seconds"]

    def _check_lake(self) -> None:
        before = self.folder.read_json(self.folder.config)["plan_digests"]
        if before != self.parts.plan_digests:
            raise UsageError(
                f"{self.options.lake} was built anew or has other releases since {self.folder.path} began: "
                f"start a new run with --config {self.folder.config}"
            )

    def _summarize(self) -> FitSummary:
        """Score the best epoch's model and write all that a finished run has."""
        options, folder, learner = self.options, self.folder, self.learner
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
            epochs=len(self.history),
            best_epoch=self.best_epoch,
            scores=scores,
            seconds=self._seconds(),
            peak_memory=self.guard.peak,
        )
        if self.ranks.is_first:
            write_results(summary, self.history, options, folder)
        return summary

    def _tell_begin(self) -> None:
        test = self.parts.test
        for note in self.parts.notes:
            tell(self.watchers, Noticed(message=note))
        tell(
            self.watchers,
            FitBegan(
                run=str(self.folder.path),
                recipe=self.options.recipe,
                model=self.learner.spec["network"],
                device=str(self.device),
                train_windows=self.stream.n_windows,
                valid_windows=self.valid.n_windows,
                test_windows=0 if test is None else test.sizes["window"],
                epochs=self.options.epochs,
                batches=self.batches,
                epoch=self.epoch,
                batch=self.batch,
            ),
        )
        self.told_at = 0.0

    def _tell_batch(self, loss: torch.Tensor) -> None:
        now = time.monotonic()
        if not self.watchers or (now - self.told_at < _TELL_INTERVAL and self.batch < self.batches):
            return
        self.told_at = now
        tell(
            self.watchers,
            BatchEnded(
                epoch=self.epoch,
                batch=self.batch,
                batches=self.batches,
                loss=loss.item(),
                windows=self.taken * self.ranks.count,
                seconds=now - self.epoch_began,
                waited=self.waited,
            ),
        )
        tell(self.watchers, MemorySampled(tree=self.guard.tree, limit=None, machine_used_share=self.guard.share))

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
