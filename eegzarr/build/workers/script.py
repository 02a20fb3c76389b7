"""Scripts that build: each worker imports the script, which must not start another build then."""

from __future__ import annotations

import multiprocessing
import os
import sys

from eegzarr.errors import UsageError

GUARD = "put what builds below `if __name__ == '__main__':`, since each worker imports the script"


def refuse_in_worker() -> None:
    """End a process that is being started as a worker and was led here by the script that it imports."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(f"a worker can't start: it imports the script, which starts a build again. {GUARD}")


def check_script() -> None:
    """Refuse a script that workers can't import, before they try: some versions of Dask would wait for ever.

    Raises
    ------
    UsageError
        If there is nothing to import, as with ``python - < script.py``, or importing it fails or builds.
    """
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if path is None or main.__spec__ is not None:  # a prompt, a notebook, or a module as with python -m
        return
    if not os.path.exists(path):
        what = "standard input" if path == "<stdin>" else path
        raise UsageError(
            f"workers can't start: each imports the script, and {what} can't be imported. Write the script to a file "
            f"and run that file"
        )
    trial = multiprocessing.get_context("spawn").Process(target=os.getpid)
    trial.start()
    trial.join()
    if trial.exitcode:
        raise UsageError(f"workers can't start: importing {path} failed, as printed above. {GUARD}")
