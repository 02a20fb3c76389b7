"""Output that a terminal or a pipe can't take, and what to install: one line, and never lost work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import eegzarr
from eegzarr.errors import LakeError, UsageError
from eegzarr.extras import needs
from eegzarr.machine.memory import as_bytes, as_share
from eegzarr.store.verify import verify_lake
from eegzarr.urls import one_line_errors

NARROW = {**os.environ, "PYTHONIOENCODING": "ascii"}


def run(*words: object, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False, **settings)  # type: ignore[call-overload]


def test_what_a_terminal_cannot_show_is_replaced(sample_lake: Path) -> None:
    told = run("-m", "eegzarr.info", sample_lake, env=NARROW)
    assert (told.returncode, told.stderr) == (0, "")
    assert "mean ? SD" in told.stdout
    assert told.stdout.isascii()


@pytest.mark.parametrize("words", [["info", "--json"], ["info"], ["completion", "zsh"]], ids=" ".join)
def test_a_closed_pipe_ends_output_and_no_more(words: list[str], sample_lake: Path) -> None:
    lake = [] if words[0] == "completion" else [str(sample_lake)]
    process = subprocess.Popen(
        [sys.executable, "-m", "eegzarr", *words, *lake], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()  # before the first byte
    _, told = process.communicate(timeout=120)
    assert (process.returncode, told) == (0, "")


def test_a_build_outlives_the_reader_of_its_output(sample_root: Path, sample_lake: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake.zarr"
    process = subprocess.Popen(
        [sys.executable, "-m", "eegzarr.build", sample_root, lake, "--workers", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=280) == 0
    assert verify_lake(lake) == []
    windows = eegzarr.open_windows(lake, "challenge1")
    assert windows.sizes["window"] == eegzarr.open_windows(sample_lake, "challenge1").sizes["window"]


def test_a_script_from_standard_input_is_told_why_it_cannot_build(sample_root: Path, tmp_path: Path) -> None:
    script = f"""
import eegzarr
if __name__ == "__main__":
    eegzarr.build_lake({str(sample_root)!r}, {str(tmp_path / "lake.zarr")!r}, workers=1)
"""
    told = run("-", input=script)
    assert told.returncode == 1
    assert "standard input can't be imported. Write the script to a file" in told.stderr.splitlines()[-1]


@pytest.mark.parametrize("part", ["challenge1/R1", "challenge1"])
def test_a_group_given_for_the_lake_prints_the_right_call(
    part: str, sample_lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from eegzarr.command import main

    with pytest.raises(LakeError, match=rf"open_windows\('{sample_lake}', 'challenge1'"):
        eegzarr.open_windows(sample_lake / part, "challenge1")
    with pytest.raises(LakeError, match=rf"verify_lake\('{sample_lake}'\)"):
        verify_lake(sample_lake / part)
    for command in ("info", "verify", "report", "train"):
        assert main([command, str(sample_lake / part)]) == 1
        output = capsys.readouterr()
        assert f"python -m eegzarr.{command} {sample_lake}" in output.err
        assert output.out == ""


@pytest.mark.parametrize(
    ("missing", "words", "extra"),
    [
        ("torch", ["train", "LAKE"], "train"),
        ("braindecode", ["train", "LAKE", "--out", "run"], "train"),
        ("torch", ["ensemble", "run"], "train"),
        ("torch", ["submit", "run"], "train"),
        ("optuna", ["search", "LAKE", "--out", "study"], "train"),
        ("matplotlib", ["report", "LAKE"], "plot"),
        ("matplotlib", ["info", "LAKE", "--plot", "a.png"], "plot"),
        ("s3fs", ["info", "s3://bucket/lake.zarr"], "s3"),
        ("gcsfs", ["build", "SAMPLE", "gs://bucket/lake.zarr"], "gcs"),
        ("s3fs", ["build", "s3://bucket/dataset", "lake.zarr"], "s3"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_missing_package_is_one_line_with_what_installs_it(
    missing: str, words: list[str], extra: str, sample_lake: Path, sample_root: Path, tmp_path: Path
) -> None:
    places = {"LAKE": str(sample_lake), "SAMPLE": str(sample_root)}
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from eegzarr.command import main; "
        f"sys.exit(main({[places.get(word, word) for word in words]}))"
    )
    told = run("-c", code, cwd=tmp_path)
    assert told.returncode == 2, told.stderr
    last = told.stderr.splitlines()[-1]
    assert f"pip install 'eegzarr[{extra}]'" in last
    assert "Traceback" not in told.stderr


def test_a_missing_package_of_ours_is_an_import_error_too() -> None:
    with pytest.raises(ImportError) as raised, needs("convert", "HDF5"):
        raise ModuleNotFoundError("No module named 'h5py'", name="h5py")
    assert isinstance(raised.value, UsageError)
    assert str(raised.value) == "HDF5 needs h5py: pip install 'eegzarr[convert]'"
    with pytest.raises(ModuleNotFoundError, match="numpy"), needs("convert", "HDF5"):
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")


@pytest.mark.parametrize("url", ["s3://bucket/lake.zarr", "nobodys://bucket/lake.zarr"])
def test_a_bucket_that_cannot_be_reached_is_one_line(url: str, tmp_path: Path) -> None:
    without = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    without |= {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"}
    told = run("-m", "eegzarr.info", url, env=without)
    assert told.returncode == 1
    assert told.stderr.startswith(f"eegzarr.info: {url} can't be used: ")
    assert len(told.stderr.splitlines()) == 1


def test_errors_of_a_bucket_keep_their_words_and_those_of_a_path_stay() -> None:
    denied = r"s3://b/x can't be used: access is denied \(no\)\. Check"
    with pytest.raises(LakeError, match=denied), one_line_errors("s3://b/x", LakeError):
        raise PermissionError("no")
    with pytest.raises(PermissionError), one_line_errors("/here", LakeError):
        raise PermissionError("no")
    with pytest.raises(ZeroDivisionError), one_line_errors("s3://b/x", LakeError):
        _ = 1 // 0


@pytest.mark.parametrize(("size", "nbytes"), [("2GiB", 2 * 2**30), ("900MB", 900 * 10**6), (4096, 4096), (None, None)])
def test_a_size_is_a_number_or_a_text(size: int | str | None, nbytes: int | None) -> None:
    assert as_bytes(size, "--memory-limit") == nbytes


@pytest.mark.parametrize("size", [0, -1, True, 2.5, "x", "0"])
def test_any_other_size_is_refused_by_its_option(size: object) -> None:
    with pytest.raises(UsageError, match=r"^--memory-limit "):
        as_bytes(size, "--memory-limit")  # type: ignore[arg-type]


@pytest.mark.parametrize("share", ["85%", "85", 0.85])
def test_a_share_is_a_number_or_a_text(share: float | str) -> None:
    assert as_share(share, "--max-memory") == pytest.approx(0.85)
    for wrong in (0, 1.5, True, "200%", "x"):
        with pytest.raises(UsageError, match=r"^--max-memory "):
            as_share(wrong, "--max-memory")


def test_json_is_whole(sample_lake: Path) -> None:
    told = run("-m", "eegzarr", "info", "--json", sample_lake)
    assert json.loads(told.stdout)["groups"][0]["group"] == "challenge1/R1"


def test_a_build_from_python_takes_what_the_command_takes(sample_root: Path, sample_lake: Path, tmp_path: Path) -> None:
    out = tmp_path / "lake.zarr"
    eegzarr.build_lake(
        sample_root, out, recipe="challenge1", memory_limit="2GiB", max_memory=0.99, shard_size="4MiB", workers=1
    )
    ours, theirs = (eegzarr.open_windows(lake, "challenge1") for lake in (out, sample_lake))
    assert ours.equals(theirs.drop_attrs().assign_attrs(ours.attrs))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "chalenge2"}, "Did you mean challenge2?"),
        ({"memory_limit": "lots"}, "--memory-limit 'lots' isn't a size"),
        ({"max_memory": 85}, "--max-memory 85 isn't a share"),
        ({"workers": 0}, "--workers must be at least 1"),
        ({"dtype": "flot16"}, "Did you mean float16?"),
        ({"mini": True}, "--mini and --data-dir go with releases"),
    ],
)
def test_a_mistake_from_python_is_the_commands_message(
    options: dict[str, object], message: str, sample_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as raised:
        eegzarr.build_lake(sample_root, tmp_path / "lake.zarr", **options)  # type: ignore[arg-type]
    assert message in str(raised.value)
    assert not (tmp_path / "lake.zarr").exists()


def test_a_release_of_hbn_is_found_by_its_name(tmp_path: Path, sample_root: Path) -> None:
    (tmp_path / "R3_mini_L100_bdf").symlink_to(sample_root)
    from eegzarr.build.api import forecast

    foreseen = forecast("R3", tmp_path / "lake.zarr", mini=True, data_dir=tmp_path, name="R3", workers=1)
    assert foreseen.group == "challenge1/R3"
    with pytest.raises(TypeError, match="unexpected"):
        forecast("R3", tmp_path / "lake.zarr", nothing=1)  # type: ignore[call-arg]


@pytest.mark.needs("torch")
def test_streaming_needs_torch_alone(sample_lake: Path) -> None:
    others = (
        "braindecode",
        "torchaudio",
        "torchdata",
        "llvmlite",
        "numba",
        "matplotlib",
        "optuna",
        "scipy",
        "sklearn",
        "s3fs",
        "h5py",
    )
    told = run(
        "-c",
        f"import sys; sys.modules.update(dict.fromkeys({others}))\n"
        "import eegzarr\n"
        "from eegzarr.stream.stream import WindowStream\n"
        f"ds = eegzarr.open_windows({str(sample_lake)!r}, 'challenge1')\n"
        "print(sum(len(x) for x, y in WindowStream(ds, batch_size=32, shuffle=True, seed=0)))\n",
    )
    assert told.returncode == 0, told.stderr
    assert int(told.stdout) > 100
