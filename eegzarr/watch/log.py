"""A build's log file: every event but the many memory samples, with the time."""

from __future__ import annotations

import logging
import logging.handlers
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from eegzarr.errors import UsageError, redacted
from eegzarr.events import BuildBegan, Event, MemorySampled, Noticed

_HELD = 1000  # records at most
_MEMORY_INTERVAL = 20  # samples between lines, about 10 s


class BuildLog:
    """A listener that writes a log file, which begins with the build.

    A command that fails before, for a mistake in its options, leaves no file.

    Parameters
    ----------
    folder : Path
        Made where it doesn't exist.
    name : str
        The file's name begins with it; the date follows.
    command : str
        The log's first line.

    Raises
    ------
    UsageError
        When the build begins, if the folder can't be written.
    """

    def __init__(self, folder: Path, name: str, command: str) -> None:
        self.path = folder / f"{name}-{datetime.now():%Y%m%d-%H%M%S}.log"
        self._command = command
        self._logger = logging.Logger("eegzarr.build", logging.INFO)
        self._file: logging.FileHandler | None = None
        self._samples = 0
        # What modules log, here or on workers, before the file is there: tracebacks of foreign readers, mostly.
        self._held = logging.handlers.MemoryHandler(_HELD, flushLevel=logging.CRITICAL, flushOnClose=False)

    def __enter__(self) -> BuildLog:
        modules = logging.getLogger("eegzarr")
        modules.setLevel(min(modules.level or logging.INFO, logging.INFO))
        modules.addHandler(self._held)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        logging.getLogger("eegzarr").removeHandler(self._held)
        self._held.flush()
        self._held.close()
        if self._file is None:
            return
        if error is not None:
            self._logger.error("stopped: %s: %s", type(error).__name__, redacted(str(error)))
        self._file.close()

    def __call__(self, event: Event) -> None:
        if self._file is None:
            if not isinstance(event, BuildBegan):
                return
            self._open()
        if isinstance(event, MemorySampled):
            self._samples += 1
            if self._samples % _MEMORY_INTERVAL:
                return
        if isinstance(event, Noticed):
            self._logger.warning("%s", redacted(event.message))
        else:
            told = " ".join(f"{key}={value}" for key, value in asdict(event).items())
            self._logger.info("%s %s", type(event).__name__, redacted(told))

    def write(self, line: str) -> None:
        """Add a line, if the build began."""
        if self._file is not None:
            self._logger.info("%s", redacted(line))

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = logging.FileHandler(self.path, encoding="utf8")
        except OSError as error:
            raise UsageError(f"--log-dir {self.path.parent} can't be written: {error.strerror or error}") from error
        self._file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._logger.addHandler(self._file)
        self._logger.info("%s", redacted(self._command))
        self._held.setTarget(self._file)
        self._held.flush()
