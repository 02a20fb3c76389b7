"""Which epoch an iteration is of, and which share of it: across DataLoader workers and ranks."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import get_worker_info

from eegzarr.errors import UsageError
from eegzarr.stream.counts import whole

_EPOCH, _SETS, _START, _DEALT_FROM, _SLOTS = range(5)
_MOST_WORKERS = 256
# Bits of a worker's slot, from the lowest. One number, so that it is written at once.
_VALID, _DRAINED, _FIRST = 1, 2, 4
_GENERATION, _SET, _WORKERS, _EPOCH_AT = (3, 24), (27, 6), (33, 9), (42, 20)


@dataclass(frozen=True, kw_only=True)
class Begun:
    """An iteration that has begun.

    Attributes
    ----------
    epoch : int
    start : int
        Windows of the epoch, over all ranks, that come before the first to give.
    dealt_from : int
        Windows before those that ranks and workers have shared out; not more than `start`.
    sets : int
        How often an epoch had been chosen by then: what is chosen meanwhile holds.
    """

    epoch: int
    start: int = 0
    dealt_from: int = 0
    sets: int = 0


@dataclass(frozen=True)
class _Slot:
    """What a DataLoader worker has noted: which of its iterations it began last, and whether it drained it."""

    generation: int
    sets: int
    workers: int
    epoch: int
    is_first: bool
    is_drained: bool = False

    def packed(self) -> int:
        fields = ((_GENERATION, self.generation), (_SET, self.sets), (_WORKERS, self.workers), (_EPOCH_AT, self.epoch))
        number = _VALID | _DRAINED * self.is_drained | _FIRST * self.is_first
        return number | sum((value % 2**width) << first for (first, width), value in fields)

    @classmethod
    def unpacked(cls, number: int) -> _Slot:
        generation, sets, workers, epoch = (
            number >> first & 2**width - 1 for first, width in (_GENERATION, _SET, _WORKERS, _EPOCH_AT)
        )
        return cls(generation, sets, workers, epoch, bool(number & _FIRST), bool(number & _DRAINED))


class EpochClock:
    """The epoch that is next, in memory that DataLoader workers share.

    An iteration that was drained is followed by the next epoch. Of an iteration in DataLoader workers the
    main process sees nothing, and a worker may drain its share before another has begun: so
    each notes in a slot of its own which iteration it is in, and those of one iteration take the epoch of the first.
    """

    def __init__(self) -> None:
        self._shared = torch.zeros(_SLOTS + _MOST_WORKERS, dtype=torch.int64).share_memory_()
        self._iterations = 0
        self._slot: _Slot | None = None
        self._given: Begun | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._shared.share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration is of."""
        return self._next(self._slots())

    @property
    def has_workers(self) -> bool:
        """Whether DataLoader workers have read since the epoch was set."""
        return bool(self._slots())

    def set(self, epoch: int, start: int = 0, dealt_from: int = 0) -> None:
        """Choose where the next iteration begins."""
        self._given = None
        self._shared[_SLOTS:] = 0
        self._shared[_EPOCH], self._shared[_START], self._shared[_DEALT_FROM] = epoch, start, dealt_from
        self._shared[_SETS] = (self._shared[_SETS] + 1) % 64

    def begin(self) -> Begun:
        """Note that an iteration begins, and return where."""
        worker = get_worker_info()
        if worker is None:
            if self._given is not None:
                self.finish(self._given)
            slots = self._slots()
            begun = self._begun(self._next(slots), is_first=not slots)
            self.set(begun.epoch)  # what is left early begins again
            return replace(begun, sets=int(self._shared[_SETS]))
        self._iterations += 1
        seed = worker.seed - worker.id  # one for all workers of a loader's iteration
        generation = zlib.crc32(f"{seed} {self._iterations}".encode()) % 2**24
        slots = self._slots()
        sibling = next((slot for slot in slots if slot.generation == generation), None)
        epoch, is_first = (sibling.epoch, sibling.is_first) if sibling else (self._next(slots), not slots)
        self._note(_Slot(generation, int(self._shared[_SETS]), worker.num_workers, epoch, is_first))
        return self._begun(epoch, is_first=is_first)

    def begin_at(self, begun: Begun) -> None:
        """Note that a worker's iteration begins where its own saved state says."""
        worker = get_worker_info()
        assert worker is not None
        self._iterations += 1
        generation = zlib.crc32(f"{worker.seed - worker.id} {self._iterations}".encode()) % 2**24
        self._note(_Slot(generation, int(self._shared[_SETS]), worker.num_workers, begun.epoch, is_first=False))

    def gave_last(self, begun: Begun) -> None:
        """Note that the last batch of an iteration is given: a loop that counts batches never asks for one more."""
        if get_worker_info() is None:
            self._given = begun  # the epoch is over when the next iteration begins, or a further batch is asked for
        else:
            self.finish(begun)

    def finish(self, begun: Begun) -> None:
        """Note that an iteration was drained."""
        if get_worker_info() is None:
            if begun.sets == int(self._shared[_SETS]):
                self.set(begun.epoch + 1)
        elif self._slot is not None:
            self._note(_Slot(**{**self._slot.__dict__, "is_drained": True}))

    def _begun(self, epoch: int, *, is_first: bool) -> Begun:
        if not is_first:
            return Begun(epoch=epoch)
        return Begun(epoch=epoch, start=int(self._shared[_START]), dealt_from=int(self._shared[_DEALT_FROM]))

    def _note(self, slot: _Slot) -> None:
        worker = get_worker_info()
        assert worker is not None
        if worker.id >= _MOST_WORKERS:
            raise UsageError(f"a stream can be read by up to {_MOST_WORKERS} DataLoader workers")
        self._slot = slot
        self._shared[_SLOTS + worker.id] = slot.packed()

    def _slots(self) -> list[_Slot]:
        now = self._shared.clone()
        slots = [_Slot.unpacked(number) for number in now[_SLOTS:][now[_SLOTS:] != 0].tolist()]
        return [slot for slot in slots if slot.sets == int(now[_SETS])]

    def _next(self, slots: list[_Slot]) -> int:
        """Return the epoch after what workers have drained, or the one that they haven't."""
        if not slots:
            return int(self._shared[_EPOCH])
        latest = max(slot.epoch for slot in slots)
        drained = [slot for slot in slots if slot.epoch == latest and slot.is_drained]
        counts = {slot.generation: (slot.workers, 0) for slot in drained}
        for slot in drained:
            counts[slot.generation] = slot.workers, counts[slot.generation][1] + 1
        return latest + any(workers == count for workers, count in counts.values())


@dataclass(frozen=True)
class Ranks:
    """Which share of the batches an iteration gives.

    Parameters
    ----------
    rank, ranks : int or None
        As they were asked for; None is looked up where it is used.
    """

    rank: int | None
    ranks: int | None

    def __post_init__(self) -> None:
        if (self.rank is None) != (self.ranks is None):
            missing = "rank" if self.rank is None else "ranks"
            raise UsageError(f"give rank and ranks together: {missing} is missing")
        if self.rank is not None and self.ranks is not None:
            number, count = whole("rank", self.rank, 0), whole("ranks", self.ranks, 1)
            if number >= count:
                raise UsageError(f"rank must be from 0 to {count - 1}, got {number}")

    def found(self, inherited: tuple[int, int] | None) -> tuple[int, int]:
        """Return rank and number of ranks: as given, or those of ``torch.distributed`` now.

        Parameters
        ----------
        inherited : (int, int) or None
            What the process that started this DataLoader worker has found.
        """
        if self.rank is not None and self.ranks is not None:
            return int(self.rank), int(self.ranks)
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return inherited if inherited is not None and get_worker_info() is not None else (0, 1)
