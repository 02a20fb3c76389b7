"""Environments of peers that need more than eegzarr's: one each, laid over the one that runs this.

python -m benchmarks.environments      # makes them all, and says which couldn't be made, and why

A peer's environment sees all packages of the one below it, so that PyTorch isn't installed again;
what the peer wants in another version is installed into its own, and hides the one below.
"""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

REQUIREMENTS = {
    "litdata": ("litdata==0.2.76",),
    "mosaicml-streaming": ("mosaicml-streaming==0.13.0",),
    "webdataset": ("webdataset==1.0.2",),
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
        below = _path_below(folder).read_text()
    except FileNotFoundError:
        return Environment(python=None, reason=f"not installed: {remedy}")
    if record["requirements"] != list(REQUIREMENTS[peer]):
        return Environment(python=None, reason=f"installed for other versions: {remedy}")
    if below != _below():  # a checkout that was moved
        return Environment(python=None, reason=f"laid over another environment: {remedy}")
    return Environment(python=None if record["reason"] else folder / "bin" / "python", reason=record["reason"])


def make(peer: str) -> Environment:
    """Make the environment of a peer, if it isn't there; a failure is kept as the reason."""
    there = environment(peer)
    if there.python:
        return there
    folder = _FOLDER / peer
    venv.EnvBuilder(clear=True, with_pip=False).create(folder)
    _path_below(folder).write_text(_below())
    # The readers' code is written for the one PyTorch, and another would take another gigabyte.
    pinned = folder / "constraints.txt"
    pinned.write_text(f"torch=={version('torch').partition('+')[0]}\n")
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    command += ["--disable-pip-version-check", "--constraint", str(pinned), *REQUIREMENTS[peer]]
    try:
        pip = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        reason = pip.stderr.strip().splitlines()[-1] if pip.returncode else ""
    except subprocess.TimeoutExpired:
        reason = f"pip didn't end within {PATIENCE} s"
    record = {"requirements": REQUIREMENTS[peer], "reason": reason}
    (folder / _RECORD).write_text(json.dumps(record) + "\n")
    return environment(peer)


def _path_below(folder: Path) -> Path:
    return Path(sysconfig.get_path("purelib", vars={"base": str(folder)})) / "below.pth"


def _below() -> str:
    """Return the content of the file that shows a peer the packages of the environment that runs this."""
    there = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    return "".join(f"{path}\n" for path in sorted({os.path.realpath(path) for path in there}))


def main() -> None:
    """Make them all."""
    for peer in REQUIREMENTS:
        made = make(peer)
        print(f"{peer}: {made.reason or 'installed'}")


if __name__ == "__main__":
    main()
