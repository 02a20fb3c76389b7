"""What only some systems have: locks on folders, flushing, advice about pages, blocked signals, limits of cgroups.

Beside each is what is done where it is missing. All that reads, streams, trains and checks a lake works on Linux,
macOS and Windows; nothing else in eegzarr asks which of them it runs on.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import math
import mmap
import os
import signal
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

try:
    import fcntl
    import resource
except ImportError:  # Windows
    fcntl = resource = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)
_FILES = resource.RLIMIT_NOFILE if resource is not None else 0
_TRIES = 20  # to lock a folder that others remove
# Of file systems without locks, such as some mounts of Lustre, or without locks on folders: NFS locks what is open for
# writing, which no folder can be.
_NO_LOCKS = {errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO}
# Of file systems that map no file, as some do that a program provides.
_NO_MAPS = {errno.ENODEV, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP}
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


class Locked(Exception):
    """Another process holds the lock."""


@contextmanager
def locked(folder: Path, lock_file: Path) -> Iterator[None]:
    """Keep other processes that ask for the same lock away, inside the ``with``; make the folder if it isn't there.

    Parameters
    ----------
    folder : Path
        The lock is on it, where the system has such locks: no file is left, and the lock goes with its process.
    lock_file : Path
        A file for the lock where it doesn't. It stays, so it belongs outside of a lake.

    Raises
    ------
    Locked
        If another process holds it.

    Notes
    -----
    Where the file can't be locked either, a warning says that nothing is: all that is written there is written whole.
    """
    with _flocked(folder, lock_file) if fcntl is not None else _file_locked(lock_file):
        folder.mkdir(parents=True, exist_ok=True)
        yield


@contextmanager
def _flocked(folder: Path, lock_file: Path) -> Iterator[None]:
    descriptor: int | None
    try:
        descriptor = _flocked_descriptor(folder)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        descriptor = _descriptor_of_file(lock_file, folder)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _descriptor_of_file(lock_file: Path, folder: Path) -> int | None:
    """Lock a file in place of a folder; return None where there are no locks."""
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
    except BlockingIOError as error:
        raise Locked(f"{lock_file} is in use") from error
    except OSError as error:
        told = f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
        _log.warning("%s can't be locked (%s): see that no other process builds there", folder, told)
        return None
    return descriptor


def _flocked_descriptor(folder: Path) -> int:
    for is_last_try in (*[False] * _TRIES, True):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            if is_last_try:
                raise  # a place where no folder can be made, such as /proc
            continue  # removed again by a process that found nothing to do
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise Locked(f"{folder} is in use") from error
        except OSError:
            os.close(descriptor)
            raise
        if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
        os.close(descriptor)
    raise Locked(f"{folder} is in use")


@contextmanager
def _file_locked(lock_file: Path) -> Iterator[None]:
    import filelock  # where it is needed alone: every worker would import it

    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(lock_file, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise Locked(f"{lock_file} is in use") from error
    try:
        yield
    finally:
        lock.release()


def flush_file(descriptor: int) -> None:
    """Have a file's content on the disk when this returns."""
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS, whose fsync leaves it in the disk's cache
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def flush_folder(folder: Path) -> None:
    """Have all files below a folder on the disk when this returns."""
    if hasattr(os, "sync"):
        os.sync()
        return
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("r+b") as opened:
                flush_file(opened.fileno())


def _flush_call() -> Callable[[int], object]:
    """Return what has the system begin to write a file's pages to the disk; nothing where it can't be asked to.

    The disk then works while the next frame is encoded, and a shard's end waits for its last pages
    alone: two workers write 1.1 times as fast.
    """
    try:
        call = ctypes.CDLL(None).sync_file_range  # of Linux; Python has no function for it
    except (OSError, AttributeError, TypeError):  # TypeError: Windows has no library without a name
        return lambda descriptor: None
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    to_the_end, write = 0, 2  # SYNC_FILE_RANGE_WRITE: begin, and don't wait
    return lambda descriptor: call(descriptor, 0, to_the_end, write)


begin_flush = _flush_call()


def _library_that_maps() -> ctypes.CDLL | None:
    """Return the C library with the functions that map files, None where it isn't found without a name."""
    if sys.platform == "win32":
        return None
    try:
        library = ctypes.CDLL(None, use_errno=True)
        pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        library.mmap.restype = pointer
        library.mmap.argtypes = (pointer, size, number, number, number, ctypes.c_int64)
        library.munmap.argtypes = (pointer, size)
        library.madvise.argtypes = (pointer, size, number)
    except (OSError, TypeError, AttributeError):
        return None
    return library


_maps = _library_that_maps()
_FAILED = ctypes.c_void_p(-1).value


def mapped(descriptor: int, size: int) -> npt.NDArray[np.uint8]:
    """Return a file's bytes, mapped for as long as any view of them lives.

    No descriptor stays open, except where Python's own `mmap` has to do.
    """
    if _maps is None:
        return np.frombuffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), np.uint8)
    # What other machines may write to at any time, some file systems map for one process alone.
    for kind in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
        address = _maps.mmap(None, size, mmap.PROT_READ, kind, descriptor, 0)
        if address is not None and address != _FAILED:
            break
    else:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    memory = (ctypes.c_uint8 * size).from_address(address)
    # Not at the process's end: a thread may still be reading.
    weakref.finalize(memory, _maps.munmap, address, size).atexit = False
    content: npt.NDArray[np.uint8] = np.frombuffer(memoryview(memory).cast("B"), np.uint8)
    content.flags.writeable = False
    return content


def can_be_mapped(path: Path) -> bool:
    """Tell whether the file system of a file, which isn't empty, lets a process map it.

    True where the file can't be opened: whoever reads it says why.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError:
        return True
    try:
        mapped(descriptor, 1)
    except OSError as error:
        return error.errno not in _NO_MAPS
    finally:
        os.close(descriptor)
    return True


def wish_for(address: int, length: int) -> None:
    """Have the system begin to read mapped bytes; `address` is the beginning of a page.

    Where it can't be asked, or a file system or a limit declines, pages come when they are touched.
    """
    if _maps is not None and hasattr(mmap, "MADV_WILLNEED"):
        _maps.madvise(address, length, mmap.MADV_WILLNEED)


def thread_usage() -> tuple[int, float]:
    """Return how many reads of a disk this thread has caused, and its processor time in s.

    0 for both where the system doesn't count them.
    """
    if resource is None or not hasattr(resource, "RUSAGE_THREAD"):
        return 0, 0.0
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return usage.ru_inblock, usage.ru_utime + usage.ru_stime


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Start processes that never see Ctrl-C, nor that a terminal is closed, inside the ``with``.

    Only for the main thread, which alone decides what an interrupt means. A blocked signal stays blocked in threads and
    processes that come from this thread, also in those that these start later. Where signals can't be blocked, they are
    ignored: processes that are started now inherit that, but not on Windows, where Ctrl-C ends the workers, too.
    """
    if hasattr(signal, "pthread_sigmask"):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def open_files_allowed(wanted: int) -> int:
    """Raise how many files this process may have open to what is wanted, if it may; return how many it may have."""
    if resource is None:
        return wanted
    limits = [limit if limit != resource.RLIM_INFINITY else sys.maxsize for limit in resource.getrlimit(_FILES)]
    if limits[0] < wanted <= limits[1]:
        with suppress(ValueError, OSError):  # macOS has a limit of its own
            resource.setrlimit(_FILES, (wanted, resource.getrlimit(_FILES)[1]))
            return wanted
    return min(wanted, limits[0])


def forks_safely() -> bool:
    """Return whether a process can be forked that has imported NumPy and its like, and not used them."""
    return sys.platform == "linux"  # macOS can fork, but its libraries may not be used after it


def is_writable(folder: Path) -> bool:
    """Return whether files can be made in a folder."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    return not hasattr(os, "statvfs") or not os.statvfs(folder).f_flag & os.ST_RDONLY


def usable_cores() -> int:
    """Processor cores that this process may use: by its affinity, and the quota of its cgroup if that is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Rounded up, as Dask does, which however looks for quotas in fewer places than there are.
    return min([cores, *(max(1, math.ceil(quota)) for quota in _quotas())])


def _quotas(root: Path = _CGROUPS, own: Path = _OWN_CGROUPS) -> Iterator[float]:
    """Yield the cores of each cgroup with a quota, of this process's and of all above it."""
    for folder in cgroup_folders("cpu", root, own):
        with suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)  # a text "max" stands for none
        with suppress(OSError, ValueError):
            allowed = int((folder / "cpu.cfs_quota_us").read_text())
            if allowed > 0:
                yield allowed / int((folder / "cpu.cfs_period_us").read_text())


def cgroup_folders(controller: str, root: Path = _CGROUPS, own: Path = _OWN_CGROUPS) -> list[Path]:
    """Return the folders of this process's cgroup and of all above it, of both versions; none on other systems."""
    folders = [root]
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            top = root
        elif controller in controllers.split(","):
            top = root / controllers if (root / controllers).is_dir() else root / controller
        else:
            continue
        folder = top / path.strip("/")
        folders += [parent for parent in (folder, *folder.parents) if parent.is_relative_to(top)]
    # In a container, the path is often that of the machine around it, and the container's own limits are at the top.
    if (root / controller).is_dir():
        folders.append(root / controller)
    return list(dict.fromkeys(folders))


def shared_memory(process: psutil.Process) -> int:
    """Bytes of a process, where shared pages count in part; without these where the system can't count them."""
    full: Any = process.memory_full_info()
    return int(getattr(full, "pss", full.uss))


def memory_without_files(process: psutil.Process) -> int:
    """Bytes of a process without the pages of mapped files, where the system can tell them apart.

    Raises
    ------
    psutil.Error
        If the process has ended or belongs to somebody else.
    """
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        if Path("/proc/self/smaps_rollup").exists():
            raise psutil.NoSuchProcess(process.pid) from None
        return shared_memory(process)
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return (kib.get("Pss_Anon", 0) + kib.get("Pss_Shmem", 0)) * 2**10
