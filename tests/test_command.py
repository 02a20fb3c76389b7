"""The front door: commands, their help, errors and exit codes, and output that nothing stops."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import docstring_parser
import pytest

import eegzarr
from eegzarr.cli.run import Command, run_command
from eegzarr.command import COMMANDS, load_command, main
from eegzarr.errors import BuildStopped, EegzarrError, UsageError
from eegzarr.suggest import closest

ROOT = Path(__file__).parents[1]


def run(*words: str | os.PathLike[str], **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_that_names_it_as_it_was_called(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"Usage: eegzarr {name} ")
    command = load_command(name)
    assert command(["--help"]) == 0
    assert capsys.readouterr().out == told.replace(f"eegzarr {name} ", f"python -m {command.module} ", 1)
    assert main([name, "--version"]) == 0
    assert capsys.readouterr().out == f"eegzarr {eegzarr.__version__}\n"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_list_has_the_first_line_of_each_command(name: str) -> None:
    documented = docstring_parser.parse(load_command(name).function.__doc__ or "").short_description
    assert documented is not None
    assert COMMANDS[name].summary.split(".")[0].split(",")[0] in documented


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_described(name: str) -> None:
    for argument in load_command(name).app(name).assemble_argument_collection(parse_docstring=True):
        assert argument.parameter.help or not argument.parse, f"{name} {argument.name} says nothing"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_module_form_runs(name: str) -> None:
    module = COMMANDS[name].module
    assert isinstance(import_module(module).main, Command)
    assert import_module(module).main.module == module.removesuffix(".__main__")


def test_the_list_of_commands_needs_none_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    told = run("-X", "importtime", "-m", "eegzarr", "--help")
    assert told.returncode == 0
    assert all(f"  {name} " in told.stdout for name in COMMANDS)
    imported = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines()}
    assert not imported & {"xarray", "torch", "dask", "zarr", "numpy", "pandas", "mne"}
    assert run("-m", "eegzarr").stdout == told.stdout
    assert run("-m", "eegzarr", "--version").stdout == f"eegzarr {eegzarr.__version__}\n"
    assert main([]) == 0
    assert capsys.readouterr().out == told.stdout.replace("python -m eegzarr COMMAND", "eegzarr COMMAND")


@pytest.mark.parametrize("name", ["build", "convert", "info", "monitor", "report", "train", "verify"])
def test_help_imports_nothing_that_is_slow(name: str) -> None:
    told = run("-X", "importtime", "-m", "eegzarr", name, "--help")
    imported = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines()}
    assert not imported & {"xarray", "torch", "dask", "zarr", "pandas", "mne", "matplotlib"}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("bild", "build"), ("trian", "train"), ("verfy", "verify")],  # codespell: misspelt
)
def test_an_unknown_command_lists_the_known(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([typed]) == 2
    told = capsys.readouterr().err
    assert f"Did you mean {meant}?" in told
    assert all(name in told for name in COMMANDS)
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["build", "a", "b", "--compresion", "zstd"], "Did you mean --compression?"),
        (["build", "a", "b", "--dtype", "flot16"], "Did you mean float16?"),
        (["build", "a", "b", "--workers", "2.5"], "--workers must be a whole number, got '2.5'"),
        (["build", "a", "b", "--workers", "0"], "--workers must be at least 1"),
        (["build", "a", "b", "--memory-limit", "lots"], "--memory-limit 'lots' isn't a size"),
        (["build", "a", "b", "--recipe", "chalenge1"], "Did you mean challenge1?"),
        (["build", "--releases", "r5", "-o", "b"], "Did you mean R5?"),
        (["build", "a", "b", "--sample"], "--releases and --sample go without SOURCE"),
        (["build", "a", "b", "--mini"], "--mini and --data-dir go with --releases"),
        (["build", "a"], "give one of SOURCE, --releases and --sample"),
        (["build"], "name the lake"),
        (["build", "a", "b", "--name"], "--name requires an argument"),
        (["info", "a", "b"], "there is no use for 'b'"),
        (["info"], "LAKE"),
        (["train", "a", "--los", "mae"], "Did you mean --loss?"),
        (["train", "a", "--loss", "mea"], "--loss must be one of auto, mse, mae, huber, cross-entropy"),
        (["train"], "name the lake"),
        (["train", "--resume", "a", "--batch-size", "32", "--releases", "R2"], "leave out --"),
        (["sample", "a", "--subjects", "0"], "--subjects must be at least 1"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line_and_2(words: list[str], told: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert told in output.err
    assert len(output.err.splitlines()) == 1
    assert not list(tmp_path.glob("*.zarr*"))


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


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_option(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for name in COMMANDS:
        assert name in script
    assert "memory-limit" in script
    assert "keep-excluded" in script


@pytest.mark.parametrize(
    ("typed", "known", "meant"),
    [("chalenge1", ["challenge1", "challenge2"], "challenge1"), ("EEGNEX", ["EEGNet", "EEGNeX"], "EEGNeX")],
)
def test_the_nearest_name_is_suggested(typed: str, known: list[str], meant: str) -> None:
    assert closest(typed, known) == meant
    assert closest("zzz", known) is None


def test_building_and_opening_never_import_torch() -> None:
    code = (
        "import sys; import eegzarr.build.run, eegzarr.build.__main__, eegzarr.exchange.export; "
        "import eegzarr.store.open, eegzarr.store.reading.read; "
        "print([m for m in ('torch', 'braindecode', 'matplotlib.pyplot') if m in sys.modules])"
    )
    assert run("-c", code).stdout == "[]\n"


@pytest.mark.parametrize("first", ["import eegzarr; import xarray", "import xarray; import eegzarr"])
def test_every_dataset_has_the_accessor_whichever_is_imported_first(first: str) -> None:
    told = run("-c", f"{first}; print(xarray.Dataset.eegzarr.__name__, xarray.__spec__.loader.name)")
    assert told.stdout == "WindowsAccessor xarray\n", told.stderr


def test_public_names_are_there() -> None:
    for name in eegzarr.__all__:
        assert getattr(eegzarr, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        _ = eegzarr.nothing


@pytest.mark.parametrize("name", ["build_lake", "from_mne", "from_braindecode", "open_windows", "split_by_subject"])
def test_a_public_function_names_all_that_it_takes(name: str) -> None:
    kinds = {parameter.kind for parameter in inspect.signature(getattr(eegzarr, name)).parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds
    assert inspect.Parameter.VAR_POSITIONAL not in kinds
