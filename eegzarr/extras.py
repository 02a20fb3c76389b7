"""Packages that only some users need: if one is missing, an error says how to install it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from eegzarr.errors import MissingPackageError

# The packages of pyproject.toml's extras, by the name under which they are imported.
EXTRAS = {
    "stream": ("torch",),
    "train": ("torch", "torchaudio", "braindecode", "matplotlib", "optuna"),
    "convert": ("h5py", "hdf5plugin", "lmdb"),
    "plot": ("matplotlib",),
    "s3": ("s3fs",),
    "gcs": ("gcsfs",),
}


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Turn a missing package of an extra into one line with the command that installs it.

    Parameters
    ----------
    extra : str
        A name of `EXTRAS`.
    what : str
        What needs it, as the beginning of a sentence: "training".

    Raises
    ------
    MissingPackageError
        If an import inside the ``with`` finds a package of the extra missing.
    """
    try:
        yield
    except ImportError as error:
        missing = missing_package(error)
        if missing not in EXTRAS[extra]:
            raise  # a package that eegzarr always needs, or a defect of ours
        raise MissingPackageError(f"{what} needs {missing}: {install_command(extra)}") from error


def missing_package(error: ImportError) -> str:
    """Return the name of the package that an import did not find, "" where the error names none.

    fsspec raises an error of its own where s3fs or gcsfs is missing, around that of the import.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            return cause.name.partition(".")[0]
        cause = cause.__cause__ or cause.__context__
    return ""


def install_command(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'eegzarr[{extra}]'"
