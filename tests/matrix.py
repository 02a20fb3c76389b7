"""Run all tests that need no PyTorch with other Pythons, and with the oldest dependencies: `make test-matrix`.

python tests/matrix.py [3.12] [3.13] [oldest]

Each has an environment of its own in .matrix/, made once, and again when what it is made from changes. A Python that
isn't on this machine is named and left out. EEGZARR_PYTHON_3_12=PATH names one that isn't found by itself.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHOWN = ("zarr", "xarray", "numcodecs", "numpy", "pandas", "dask", "mne")


@dataclass(frozen=True)
class Leg:
    """A Python and the versions of its dependencies."""

    python: str
    constraints: str


LEGS = {
    "3.12": Leg("3.12", "constraints.txt"),
    "3.13": Leg("3.13", "constraints.txt"),
    "oldest": Leg("3.11", "constraints-oldest.txt"),
}


def find_python(version: str) -> str | None:
    """Return the path of a Python of a version, None if there is none."""
    for command in _candidates(version):
        try:
            found = subprocess.run(
                [command, "-c", "import sys; print('{}.{}'.format(*sys.version_info), sys.executable)"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split(maxsplit=1)
        except (OSError, subprocess.CalledProcessError):
            continue  # pyenv has commands for versions that aren't switched on
        if found[0] == version:
            return found[1].strip()
    return None


def _candidates(version: str) -> Iterator[str]:
    if named := os.environ.get(f"EEGZARR_PYTHON_{version.replace('.', '_')}"):
        yield named
    yield sys.executable
    yield from (path for name in (f"python{version}", "python3") if (path := shutil.which(name)))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for folder in sorted(pyenv.glob(f"{version}.*"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)]):
        yield str(folder / "bin/python")


def environment(name: str, leg: Leg, python: str) -> Path:
    """Return the Python of a leg's environment; make it where it isn't what it should be."""
    folder = ROOT / ".matrix" / name
    own = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    made_from = hashlib.sha256(python.encode())
    for file in ("pyproject.toml", leg.constraints):
        made_from.update((ROOT / file).read_bytes())
    stamp = folder / "made-from"
    if not stamp.exists() or stamp.read_text() != made_from.hexdigest():
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
        options = ["--quiet", "--disable-pip-version-check", "--constraint", leg.constraints]
        subprocess.run([own, "-m", "pip", "install", *options, "--editable", ".[test-base]"], cwd=ROOT, check=True)
        stamp.write_text(made_from.hexdigest())
    return own


def run(name: str, leg: Leg, python: str) -> tuple[bool, str]:
    """Run the tests of a leg; return whether they passed, and a line about them."""
    began = time.monotonic()
    own = environment(name, leg, python)
    listed = f"import importlib.metadata as m; print(*(n + ' ' + m.version(n) for n in {SHOWN}), sep=', ')"
    versions = subprocess.run([own, "-c", listed], capture_output=True, text=True, check=True).stdout.strip()
    print(f"== {name}: Python {leg.python}, {versions}", flush=True)
    made = time.monotonic()
    options = ["--benchmark-disable", "--numprocesses", "logical", "--maxprocesses", "8", "--dist", "loadfile"]
    options += ["--no-loadscope-reorder"]  # tests/conftest.py has the files that take longest first
    command = [str(own), "-m", "pytest", "-p", "no:cacheprovider", *options]
    environment_variables = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}  # as in the Makefile
    tests = subprocess.Popen(command, cwd=ROOT, env=environment_variables, stdout=subprocess.PIPE, text=True)
    assert tests.stdout is not None
    last = ""
    for line in tests.stdout:
        print(line, end="", flush=True)
        last = line.strip("= \n") or last
    passed = tests.wait() == 0
    return passed, f"{name}: {last} (environment {made - began:.0f} s); Python {leg.python}, {versions}"


def main(names: list[str]) -> int:
    lines, failed = [], False
    for name in names or LEGS:
        leg = LEGS[name]
        python = find_python(leg.python)
        if python is None:
            lines.append(f"{name}: left out, since there is no Python {leg.python} here")
            continue
        passed, line = run(name, leg, python)
        failed |= not passed
        lines.append(line)
    print("", *lines, sep="\n")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
