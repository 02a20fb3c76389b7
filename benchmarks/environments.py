"""Environments of peers that need more than eegzarr's: one each, laid over the one that runs this.

python -m benchmarks.environments      # makes them all, and says which couldn't be made, and why

A peer's environment sees all packages of the one below it, so that PyTorch isn't installed again;
what the peer wants in another version is installed into its own, and hides the one below. A peer that
needs a newer Python than this one gets the newest that is on the machine, with nothing below and no PyTorch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a peer's environment is made of.

    Attributes
    ----------
    packages : tuple of str
        The first is the peer itself.
    python : tuple of int
        The oldest Python that it runs with.
    options : tuple of str
        Of pip.
    """

    packages: tuple[str, ...]
    python: tuple[int, int] = (3, 11)
    options: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The peer's own version."""
        return self.packages[0].partition("==")[2]


REQUIREMENTS = {
    "litdata": Needs(packages=("litdata==0.2.76",)),
    "mosaicml-streaming": Needs(packages=("mosaicml-streaming==0.13.0",)),
    "webdataset": Needs(packages=("webdataset==1.0.2",)),
    "lance": Needs(packages=("pylance==14.0.2", "pyarrow>=17")),
    # It asks for Python 3.12 and runs with 3.11.
    "neuralset": Needs(packages=("neuralset==0.4.0",), options=("--ignore-requires-python",)),
    "annbatch": Needs(packages=("annbatch==0.3.1", "zarr==3.4.2", "zarrs>=0.2.3", "psutil"), python=(3, 12)),
}
PATIENCE = 600  # s
_FOLDER = Path(sys.prefix) / "peers"  # goes with the environment that it needs
_RECORD = "environment.json"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A peer's Python, or why there is none.

    Attributes
    ----------
    python : Path or None
    reason : str
        Last line of what pip said, where it failed.
    """

    python: Path | None
    reason: str = ""


def environment(peer: str) -> Environment:
    """Return the environment of a peer as it is, without making it."""
    folder, remedy = _FOLDER / peer, "run python -m benchmarks.environments"
    try:
        record = json.loads((folder / _RECORD).read_text())
        below = _path_below(folder).read_text() if _runs_here(REQUIREMENTS[peer]) else ""
    except FileNotFoundError:
        return Environment(python=None, reason=f"not installed: {remedy}")
    if record.get("needs") != json.loads(json.dumps(asdict(REQUIREMENTS[peer]))):
        return Environment(python=None, reason=f"installed for other versions: {remedy}")
    if below and below != _below():  # a checkout that was moved
        return Environment(python=None, reason=f"laid over another environment: {remedy}")
    return Environment(python=None if record["reason"] else folder / "bin" / "python", reason=record["reason"])


def make(peer: str) -> Environment:
    """Make the environment of a peer, if it isn't there; a failure is kept as the reason."""
    there = environment(peer)
    if there.python:
        return there
    folder, needs = _FOLDER / peer, REQUIREMENTS[peer]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    python = sys.executable if _runs_here(needs) else _newer_python(needs.python)
    if python is None:
        reason = f"there is no Python {'.'.join(map(str, needs.python))} or newer on this machine"
    else:
        reason = _install(folder, needs, python)
    (folder / _RECORD).write_text(json.dumps({"needs": asdict(needs), "reason": reason}) + "\n")
    return environment(peer)


def _install(folder: Path, needs: Needs, python: str) -> str:
    """Install what a peer needs; return why it failed, or nothing."""
    subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    command += ["--disable-pip-version-check", *needs.options]
    if _runs_here(needs):
        _path_below(folder).write_text(_below())
        # The readers' code is written for the one PyTorch, and another would take another gigabyte.
        pinned = folder / "constraints.txt"
        pinned.write_text(f"torch=={version('torch').partition('+')[0]}\n")
        command += ["--constraint", str(pinned)]
    try:
        pip = subprocess.run([*command, *needs.packages], capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"pip didn't end within {PATIENCE} s"
    return pip.stderr.strip().splitlines()[-1] if pip.returncode else ""


def _runs_here(needs: Needs) -> bool:
    return sys.version_info[:2] >= needs.python


def _newer_python(oldest: tuple[int, int]) -> str | None:
    """Return the path of the newest Python on this machine, None if none is new enough."""
    found = {}
    for command in _pythons():
        try:
            asked = subprocess.run(
                [command, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            continue  # pyenv has commands for versions that aren't switched on
        major, minor = map(int, asked.stdout.split())
        found[major, minor] = command
    newest = max(found, default=(0, 0))
    return found[newest] if newest >= oldest else None


def _pythons() -> Iterator[str]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if Path(folder).is_dir():
            yield from (str(path) for path in Path(folder).iterdir() if re.fullmatch(r"python3\.\d+", path.name))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    yield from map(str, pyenv.glob("3.*/bin/python"))


def _path_below(folder: Path) -> Path:
    return Path(sysconfig.get_path("purelib", vars={"base": str(folder)})) / "below.pth"


def _below() -> str:
    """Return the content of the file that shows a peer the packages of the environment that runs this."""
    there = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    return "".join(f"{path}\n" for path in sorted({os.path.realpath(path) for path in there}))


def main() -> None:
    """Make them all."""
    for peer in REQUIREMENTS:
        print(f"{peer}: {make(peer).reason or 'installed'}", flush=True)


if __name__ == "__main__":
    main()
