from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import eegzarr
from eegzarr.command import COMMANDS, main, run_command
from eegzarr.errors import BuildStopped, EegzarrError, UsageError


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert "usage: python -m" in capsys.readouterr().out
    assert callable(import_module(COMMANDS[name]).main)


def test_an_unknown_command_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bild"]) == 2
    assert "build" in capsys.readouterr().err
    assert main(["--help"]) == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [(EegzarrError("x"), 1), (UsageError("x"), 2), (BuildStopped("x"), 75), (KeyboardInterrupt(), 130)],
)
def test_errors_become_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise error

    assert run_command("eegzarr.build", fail) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_defect_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command("eegzarr.build", lambda: 1 // 0)


def test_building_and_opening_never_import_torch() -> None:
    code = (
        "import sys; import eegzarr.build.run, eegzarr.build.__main__, eegzarr.exchange.export; "
        "import eegzarr.store.open, eegzarr.store.read; "
        "print([m for m in ('torch', 'braindecode', 'matplotlib.pyplot') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_public_names_are_there() -> None:
    for name in eegzarr.__all__:
        assert getattr(eegzarr, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        _ = eegzarr.nothing
