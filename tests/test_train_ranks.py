"""Several processes: each validates its share, together they learn what one learns, and one that hangs is named."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_train_judged import COUNT, labelled_lake

import eegzarr
from eegzarr.train.loop.fit import fit
from eegzarr.train.loop.run import RunFolder
from eegzarr.train.models.zoo import load_model
from eegzarr.train.options import FitOptions
from eegzarr.train.scoring.predict import evaluation_stream


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    number = np.arange(float(COUNT))
    number[5::17] = np.nan  # left out
    rare = np.array(["often", "rarely"])[(np.random.default_rng(1).random(COUNT) < 0.2).astype(int)]
    folder = tmp_path_factory.mktemp("ranks") / "lake.zarr"
    return labelled_lake(folder, {"number": number, "rare": rare}, target="number")


@given(st.integers(1, 200), st.integers(1, 7))
@settings(max_examples=10)
def test_processes_share_out_every_window_once(lake: Path, batch_size: int, ranks: int) -> None:
    windows = eegzarr.open_windows(lake, "given")
    shares = [evaluation_stream(windows, batch_size, rank=rank, ranks=ranks) for rank in range(ranks)]
    given_out = [label for share in shares for _, _, labels in share for label in labels["window"].tolist()]
    known = np.flatnonzero(np.isfinite(windows["number"].to_numpy()))
    assert sorted(given_out) == known.tolist()
    assert {share.n_windows for share in shares} == {len(known)}


_PROCESS = """
import os, signal, sys, time
import torch
from torch.nn.parallel import DistributedDataParallel
from eegzarr.errors import FitStopped
from eegzarr.train.loop.ranks import joined_ranks

with joined_ranks(torch.device("cpu"), patience=4.0) as ranks:
    model = DistributedDataParallel(torch.nn.Linear(2, 1))
    for step in range(4):
        if step == 3 and sys.argv[1] == str(ranks.rank):
            if sys.argv[2] == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(600)
        try:
            with ranks.together():
                model(torch.ones(1, 2)).sum().backward()
            ranks.largest(1.0)
        except FitStopped as error:
            print(error)
            break
"""


def started(count: int, code: str, *arguments: object, **more: str) -> list[subprocess.Popen[str]]:
    """Start processes as torchrun does, each with the same arguments."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return [
        subprocess.Popen(
            command,
            env=os.environ | world | {"RANK": str(rank)} | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def end(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("behind", "how"), [(0, "hangs"), (1, "hangs"), (1, "dies")])
def test_a_process_that_hangs_or_dies_is_named_by_the_others(behind: int, how: str) -> None:
    each = started(2, _PROCESS, behind, how)
    try:
        told, _ = each[1 - behind].communicate(timeout=120)
        assert f"process {behind} (pid {each[behind].pid} on {socket.gethostname()}) didn't come" in told
        assert (each[behind].poll() is None) == (how == "hangs")
    finally:
        end(each)


_NETWORK = """
import os, pathlib, time
from torch import nn

class Waits(nn.Sequential):
    # Without dropout and statistics of batches, whose results depend on how a batch is shared out.
    def __init__(self, n_chans, n_times, n_outputs):
        super().__init__(nn.Flatten(), nn.Linear(n_chans * n_times, 8), nn.Tanh(), nn.Linear(8, n_outputs))
        self.times = 0

    def forward(self, x):
        self.times += self.training
        noticed = pathlib.Path(os.environ.get("NOTICED", "."))
        while self.times == 7 and os.environ.get("RANK") == "2" and not noticed.exists():
            time.sleep(0.05)
        return super().forward(x)
"""
_FIT = """
import json, os, pathlib, sys
from eegzarr.errors import FitStopped
from eegzarr.train.loop.fit import fit, resume
from eegzarr.train.options import FitOptions

options, run, noticed = FitOptions(**json.loads(sys.argv[1])), *sys.argv[2:]
try:
    fit(options, run, max_memory=1.0, checkpoint_interval=1e-3, timeout=6.0)
except FitStopped as stopped:
    print(stopped.exit_code, stopped, flush=True)
    pathlib.Path(noticed).touch()
resume(run, max_memory=1.0)
"""


def test_three_processes_take_the_steps_of_one_also_after_one_of_them_hung(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a mean of weights, accumulated batches and weighted classes; the third waits in mid-training."""
    (tmp_path / "network_that_waits.py").write_text(_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    one = FitOptions(
        lake=str(lake),
        recipe="given",
        target=("rare",),
        model="network_that_waits:Waits",
        fractions=(0.5, 0.25, 0.25),
        batch_size=24,
        epochs=4,
        ema=0.9,
        device="cpu",
        threads=1,
    )
    own = json.dumps(asdict(replace(one, batch_size=4, accumulate=2)))
    run, noticed = tmp_path / "three", tmp_path / "noticed"
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    each = started(3, _FIT, own, run, noticed, PYTHONPATH=path, NOTICED=str(noticed))
    try:
        fit(one, tmp_path / "one", max_memory=1.0)  # meanwhile
        told = [process.communicate(timeout=240) for process in each]
    finally:
        end(each)
    assert [process.returncode for process in each] == [0, 0, 0], told
    assert told[0][0].startswith(f"75 process 2 (pid {each[2].pid} on {socket.gethostname()}) didn't come within 6 s")
    ours, theirs = (load_model(folder).state_dict() for folder in (run, tmp_path / "one"))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-5)
    scores = [RunFolder(folder).read_json(folder / "summary.json")["scores"] for folder in (run, tmp_path / "one")]
    for part in ("valid", "test"):
        for name in ("balanced_accuracy", "logistic", "roc_auc"):
            assert scores[0][part][name] == pytest.approx(scores[1][part][name], abs=1e-5)
