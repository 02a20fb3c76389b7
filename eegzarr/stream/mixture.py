"""MixedStream: batches of several streams in turns, each batch of one."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset, get_worker_info

from eegzarr.errors import UsageError
from eegzarr.stream.counts import epoch_number, whole
from eegzarr.stream.epochs import Begun, EpochClock
from eegzarr.stream.report import Report, report_of_mixture
from eegzarr.stream.stream import WindowStream
from eegzarr.stream.times.board import Board
from eegzarr.stream.times.meter import Meter
from eegzarr.stream.times.times import latest

_DIMENSIONS = 3
_MIXTURE = 3  # what random numbers are drawn for, beside those of eegzarr.stream.order
_STATE = ("seed", "streams", "shares", "ranks")


@dataclass(frozen=True)
class PaddedBatch:
    """A batch, padded to the largest shape in a mixture.

    Attributes
    ----------
    x : Tensor, shape (batch, channel, time), or (batch, view, channel, time)
        0 where padded.
    mask : Tensor of bool, shape (channel, time)
        True where x is signal.
    channels : tuple of str
        Names of the channels that aren't padding.
    positions : Tensor, shape (channel, 3)
        Of electrodes in m; NaN where unknown or padded.
    rest : tuple
        What the stream gives beside x.
    """

    x: torch.Tensor
    mask: torch.Tensor
    channels: tuple[str, ...]
    positions: torch.Tensor
    rest: tuple[Any, ...]


class MixedStream(IterableDataset[Any]):
    """Batches of several streams in a random order, each batch of one of them.

    Streams may differ in channels, rate, length, target and batch size. Without `weights` an epoch gives all of
    their batches once. With them it has as many batches, and each stream its share of these: a stream begins its next
    epoch where its share is larger than its epoch, and continues in the next epoch where it is smaller, so that all
    of its windows come equally often in the long run.

    Parameters
    ----------
    streams : mapping of str to WindowStream
        By name. Their own shuffling, seeds and ranks hold; their `set_epoch` has no effect here.
    weights : mapping of str to float, optional
        In which proportion batches come; default by the number of batches that each stream has.
    seed : int
        Of the order in which streams take turns; it depends on this, the epoch and the streams' lengths alone, so
        that all ranks are given a batch of the same stream at the same time.
    collate : {"pad"}, optional
        Give x padded to the largest channels and times of all streams, with a mask, as a `PaddedBatch`.

    Yields
    ------
    name : str
    batch
        As the stream gives it, or a `PaddedBatch`.

    Raises
    ------
    UsageError
        If there is no stream, a weight is missing or not above 0, or batches are too few.
    """

    def __init__(
        self,
        streams: Mapping[str, WindowStream],
        *,
        weights: Mapping[str, float] | None = None,
        seed: int = 0,
        collate: Literal["pad"] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(streams, Mapping):
            raise UsageError("streams of a mixture have names: give a dict, such as {'a': stream}")
        self.streams = dict(streams)
        if not self.streams:
            raise UsageError("a mixture needs at least one stream")
        for name, stream in self.streams.items():
            if not isinstance(stream, WindowStream):
                raise UsageError(f"{name!r} must be a WindowStream, got {type(stream).__name__}")
        if weights is not None:
            _check_weights(weights, self.streams)
        if collate not in (None, "pad"):
            raise UsageError(f"collate must be 'pad' or None, got {collate!r}")
        self._weights = None if weights is None else {name: float(weights[name]) for name in self.streams}
        self.seed = whole("seed", seed, 0)
        self._collate = collate
        self._clock = EpochClock()
        self._begun = Begun(epoch=0)
        self._done = 0
        self._restored: dict[str, Any] | None = None
        self._meter: Meter | None = None
        self._board = Board()

    @property
    def epoch(self) -> int:
        """The epoch whose order the next iteration has."""
        return self._clock.epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration has, from its beginning."""
        self._go_to(epoch_number(epoch), 0)

    def __len__(self) -> int:
        """Batches that this rank yields in an epoch."""
        return sum(self._shares().values())

    def state_dict(self) -> dict[str, Any]:
        """Return where the mixture is: the epoch, and the batches of it that were given.

        Raises
        ------
        UsageError
            In the main process, while DataLoader workers read.
        """
        worker = get_worker_info()
        if worker is None and self._clock.has_workers:
            raise UsageError(
                "DataLoader workers read this mixture, so that it doesn't know how many batches were taken: use the "
                "state_dict() of torchdata's StatefulDataLoader, or num_workers=0"
            )
        epoch = self._begun.epoch if worker is not None or self._done else self.epoch
        state = {**self._state(), "epoch": epoch, "batches": self._done}
        return state if worker is None else {**state, "worker": worker.id, "workers": worker.num_workers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration resume after the batches of a `state_dict`.

        Raises
        ------
        UsageError
            If it is of other streams, weights or ranks, or no such state.
        """
        own = self._state()
        if not isinstance(state, dict) or not {"epoch", "batches", *_STATE} <= set(state):
            raise UsageError(f"this isn't the state of a MixedStream: {state!r:.80}")
        for name in _STATE:
            if state[name] != own[name]:
                raise UsageError(
                    f"the saved mixture had other {name}: a mixture resumes with the same streams and ranks"
                )
        epoch, batches = epoch_number(state["epoch"]), whole("batches of a saved mixture", state["batches"], 0)
        if batches > len(self):
            raise UsageError(f"the saved mixture had given {batches} batches, this one has {len(self)}")
        if get_worker_info() is not None:
            self._restored = dict(state)
            self._begun, self._done = Begun(epoch=epoch), batches
        elif "worker" in state:
            raise UsageError("this is the state of a DataLoader worker: load that of the StatefulDataLoader instead")
        else:
            self._go_to(epoch, batches)

    def report(self) -> Report:
        """Return where the time of the last iteration went, or of the one under way, and what to change.

        Of DataLoader workers it is what they have measured together.

        Raises
        ------
        UsageError
            If nothing was read yet.
        """
        own = latest(None if self._meter is None else self._meter.measured(), self._board.latest())
        parts = {}
        for name, stream in self.streams.items():
            if own is not None and (times := stream.times(since=own.began)) is not None:
                parts[name] = times, stream.circumstances()
        return report_of_mixture(own, parts)

    def __repr__(self) -> str:
        shares = ", ".join(f"{count} of {name!r}" for name, count in self._shares().items())
        streams = "\n".join(f"  {name!r}: {stream!r}" for name, stream in self.streams.items())
        padded = ", padded to the largest" if self._collate == "pad" else ""
        return f"MixedStream: {len(self)} batches ({shares}){padded}, seed {self.seed}\n{streams}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_meter": None}

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        begun, places = self._begin()
        names = self._names(begun.epoch)
        meter = self._meter = Meter(threads=1, row=self._board.own(begun.epoch))
        readers = {name: self._reader(name, begun.epoch, names, places) for name in self.streams}
        try:
            for place in places.tolist():
                name = names[place]
                meter.waits()
                batch = next(readers[name])
                given = batch if self._collate is None else self._padded(name, batch)
                del batch
                meter.has_batch()
                self._done = place + 1
                if place == places[-1]:
                    self._clock.gave_last(begun)
                meter.gives(0)  # its stream counts windows
                yield name, given
                del given
                meter.resumes()
        finally:
            meter.resumes()
            for reader in readers.values():
                reader.close()
        self._clock.finish(begun)
        if get_worker_info() is None:
            self._done = 0

    def _begin(self) -> tuple[Begun, npt.NDArray[np.int64]]:
        """Begin an iteration: return the places in the epoch's order of the batches that it gives."""
        worker, saved = get_worker_info(), self._restored
        total = len(self)
        if worker is not None and saved is not None:
            self._restored = None
            self._begun = Begun(epoch=saved["epoch"], start=saved["batches"])
            self._clock.begin_at(self._begun)
            places = np.arange(total)[saved["worker"] :: saved["workers"]]
            return self._begun, places[places >= saved["batches"]]
        self._begun = self._clock.begin()
        self._done = self._begun.start
        places = np.arange(self._begun.start, total)
        return self._begun, places if worker is None else places[worker.id :: worker.num_workers]

    def _reader(
        self, name: str, epoch: int, names: list[str], places: npt.NDArray[np.int64]
    ) -> Generator[Any, None, None]:
        """Return the batches of a stream at some places of an epoch's order."""
        stream = self.streams[name]
        own = [place for place, of in enumerate(names) if of == name]
        wanted = set(places.tolist())
        turns = stream.turns()
        begins = epoch * len(own)  # batches of the stream in all epochs before
        numbers = [begins + number for number, place in enumerate(own) if place in wanted]
        return stream.read([(number // len(turns), turns[number % len(turns)]) for number in numbers], epoch)

    def _names(self, epoch: int) -> list[str]:
        """Return which stream each batch of an epoch is of."""
        shares = self._shares()
        in_turn = np.repeat(np.arange(len(shares)), list(shares.values()))
        order = np.random.default_rng([self.seed, epoch, _MIXTURE]).permutation(in_turn)
        known = list(shares)
        return [known[number] for number in order.tolist()]

    def _shares(self) -> dict[str, int]:
        """Return how many batches of an epoch each stream gives."""
        ranks = {name: stream.ranks for name, stream in self.streams.items()}
        if len(set(ranks.values())) > 1:
            told = ", ".join(f"{name!r} is rank {rank} of {count}" for name, (rank, count) in ranks.items())
            raise UsageError(f"the streams of a mixture are of one rank, these aren't: {told}")
        counts = {name: len(stream) for name, stream in self.streams.items()}
        total = sum(counts.values())
        if self._weights is None:
            return counts
        exact = np.array(list(self._weights.values())) / sum(self._weights.values()) * total
        shares = np.floor(exact).astype(int)
        shares[np.argsort(shares - exact, kind="stable")[: total - shares.sum()]] += 1
        if (least := next((name for name, share in zip(counts, shares, strict=True) if not share), None)) is not None:
            raise UsageError(
                f"{least!r} would never come: by its weight it has {exact[list(counts).index(least)]:.2g} of the "
                f"{total} batches of an epoch. Give it more weight, or make batches smaller"
            )
        return dict(zip(counts, shares.tolist(), strict=True))

    def _state(self) -> dict[str, Any]:
        streams = {name: stream.state_at(0, 0) for name, stream in self.streams.items()}
        ranks = sorted({stream.ranks[1] for stream in self.streams.values()})
        return {"seed": self.seed, "streams": streams, "shares": self._shares(), "ranks": ranks}

    def _go_to(self, epoch: int, batches: int) -> None:
        self._clock.set(epoch, batches, batches)
        self._begun, self._done, self._restored = Begun(epoch=epoch, start=batches), batches, None

    def _padded(self, name: str, batch: Any) -> PaddedBatch:
        x, rest = (batch[0], tuple(batch[1:])) if isinstance(batch, tuple) else (batch, ())
        own = self.streams[name]
        n_channels = max(len(stream.channels) for stream in self.streams.values())
        n_times = max(stream.n_times for stream in self.streams.values())
        if not isinstance(x, torch.Tensor) or x.ndim < _DIMENSIONS or x.shape[-2] != len(own.channels):
            shape = tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
            raise UsageError(
                f"collate='pad' pads (batch, channel, time), and transform= of {name!r} gave {shape} for its "
                f"{len(own.channels)} channels: transform padded batches in the loop instead"
            )
        if x.shape[-1] > n_times:
            raise UsageError(f"collate='pad' pads to {n_times} samples, and transform= of {name!r} gave {x.shape[-1]}")
        padded = x.new_zeros((*x.shape[:-2], n_channels, n_times))
        padded[..., : x.shape[-2], : x.shape[-1]] = x
        mask = torch.zeros((n_channels, n_times), dtype=torch.bool)
        mask[: x.shape[-2], : x.shape[-1]] = True
        positions = torch.full((n_channels, 3), float("nan"))
        positions[: len(own.channels)] = torch.from_numpy(own.positions)
        return PaddedBatch(padded, mask, own.channels, positions, rest)


def _check_weights(weights: object, names: Iterable[str]) -> None:
    """Refuse weights that aren't a number above 0 for each stream.

    Raises
    ------
    UsageError
    """
    if not isinstance(weights, Mapping) or set(weights) != set(names):
        given = ", ".join(map(str, weights)) if isinstance(weights, Iterable) else repr(weights)
        raise UsageError(f"weights are for {given}; the streams are {', '.join(names)}")
    if not all(isinstance(weight, Real) and 0 < float(weight) < float("inf") for weight in weights.values()):
        raise UsageError(f"weights must be above 0, got {dict(weights)}")
