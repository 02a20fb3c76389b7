"""How far a stream is: the epoch that comes, this process's share of it, what was given, and what is saved of that."""

from __future__ import annotations

from typing import Any

from torch.utils.data import get_worker_info

from eegzarr.errors import UsageError
from eegzarr.stream.counts import epoch_number
from eegzarr.stream.epochs import Begun, EpochClock, Ranks
from eegzarr.stream.position import Dealing, Saved, Turn


class Progress:
    """Where a stream is, in the main process or in a DataLoader worker.

    Parameters
    ----------
    dealing : Dealing
        How an epoch's windows are cut into batches and shared out.
    ranks : Ranks
    """

    def __init__(self, dealing: Dealing, ranks: Ranks) -> None:
        self._dealing, self._ranks = dealing, ranks
        self._clock = EpochClock()
        self._begun = Begun(epoch=0)
        self._done = 0
        self._restored: Saved | None = None
        self._inherited_ranks: tuple[int, int] | None = None

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration is of."""
        return self._clock.epoch

    @property
    def ranks(self) -> tuple[int, int]:
        """Rank and number of ranks, as they are now."""
        return self._ranks.found(self._inherited_ranks)

    @property
    def is_read_by_workers(self) -> bool:
        """Whether DataLoader workers have read since the epoch was set, seen from the main process."""
        return get_worker_info() is None and self._clock.has_workers

    def __getstate__(self) -> dict[str, Any]:
        # A process that is spawned hasn't initialised torch.distributed: it takes over what was found here.
        return {**self.__dict__, "_inherited_ranks": self.ranks}

    def turns(self) -> list[Turn]:
        """Return the batches of an epoch that this rank gives."""
        return self._dealing.turns(0, *self.ranks)

    def go_to(self, epoch: int, start: int = 0) -> None:
        """Choose where the next iteration begins: after this many windows of an epoch, over all ranks.

        Raises
        ------
        UsageError
            If there is no such epoch.
        """
        number = epoch_number(epoch)
        self._clock.set(number, start, start)
        self._begun, self._done = Begun(epoch=number, start=start, dealt_from=start), start
        self._restored = None

    def resume(self, saved: Saved) -> None:
        """Resume from a saved state.

        Raises
        ------
        UsageError
            If it is another stream's, or a worker's own and this isn't a worker.
        """
        if saved.windows > (count := self._dealing.windows):
            raise UsageError(f"the saved stream had given {saved.windows} windows, this one has {count}")
        if get_worker_info() is not None:
            self._restored = saved  # this worker's own; others have theirs
            self._begun, self._done = Begun(epoch=saved.epoch, dealt_from=saved.dealt_from), saved.windows
        elif saved.worker is not None:
            raise UsageError("this is the state of a DataLoader worker: load that of the StatefulDataLoader instead")
        else:
            self.go_to(saved.epoch, saved.windows)

    def state(self) -> dict[str, Any]:
        """Return the epoch, and the windows of it that all ranks have given; in a worker also which one it is.

        Raises
        ------
        UsageError
            In the main process, while DataLoader workers read.
        """
        if self.is_read_by_workers:
            raise UsageError(
                "DataLoader workers read this stream, so that it doesn't know how many batches were taken: use the "
                "state_dict() of torchdata's StatefulDataLoader, or num_workers=0, or count, and save state_at(…)"
            )
        worker = get_worker_info()
        where = self._begun if worker is not None or self._done else Begun(epoch=self.epoch)
        state = {"epoch": where.epoch, "windows": self._done, "dealt_from": where.dealt_from}
        return state if worker is None else {**state, "worker": worker.id, "workers": worker.num_workers}

    def state_at(self, epoch: int, batches: int) -> dict[str, Any]:
        """Return the state after this many batches of an epoch, over all ranks."""
        windows = min(batches * self._dealing.batch_size, self._dealing.windows)
        return {"epoch": epoch, "windows": windows, "dealt_from": windows}

    def begin(self) -> tuple[Begun, list[Turn]]:
        """Begin an iteration: return where, and the batches that this process gives."""
        worker, saved = get_worker_info(), self._restored
        ranks = self.ranks
        if worker is not None and saved is not None:
            self._restored = None
            begun = Begun(epoch=saved.epoch, start=saved.windows, dealt_from=saved.dealt_from)
            self._clock.begin_at(begun)
            number, workers = saved.worker or (worker.id, worker.num_workers)
        else:
            begun = self._clock.begin()
            number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        self._begun, self._done = begun, begun.start
        turns = self._dealing.turns(begun.dealt_from, *ranks)
        return begun, [turn for turn in turns[number::workers] if turn.done > begun.start]

    def gave(self, begun: Begun, turn: Turn, *, is_last: bool) -> None:
        """Note that a batch is given."""
        self._done = turn.done
        if is_last:
            self._clock.gave_last(begun)

    def finish(self, begun: Begun) -> None:
        """Note that an iteration was drained."""
        self._clock.finish(begun)
        if get_worker_info() is None:
            self._done = 0
