"""Training loops that aren't ours: Lightning, with one process and with two, and plain distributed PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from torch.utils.data import DataLoader

import eegzarr
from eegzarr.errors import UsageError
from eegzarr.stream import WindowStream


@pytest.fixture(scope="module")
def windows(sample_lake: Path) -> xr.Dataset:
    return eegzarr.open_windows(sample_lake, "challenge1").isel(channel=slice(4))


LIGHTNING = """
import json, sys, warnings
warnings.simplefilter("ignore")
import torch, eegzarr
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader
from eegzarr.stream import LightningData, WindowStream

class Note(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(800, 1)
        self.seen = []
    def training_step(self, batch, number):
        x, y, labels = batch
        self.seen.append((self.current_epoch, labels["window"].tolist()))
        return (self.layer(x.flatten(1))[:, 0] - y).square().mean()
    def validation_step(self, batch, number):
        pass
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-9)

if __name__ == "__main__":
    lake, out, devices, strategy = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    windows = eegzarr.open_windows(lake, "challenge1").isel(channel=slice(4))
    train, valid = eegzarr.split_by_subject(windows, (0.8, 0.2))
    for workers in map(int, sys.argv[5:]):
        # Made before any process group.
        data = LightningData(
            train, valid, batch_size=16, seed=3, num_workers=workers, normalize="channel", with_labels=["window"]
        )
        model = Note()
        trainer = Trainer(
            max_epochs=3, accelerator="cpu", devices=devices, strategy=strategy, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )
        trainer.fit(model, data)
        with open(f"{out}/{workers}-{trainer.global_rank}.json", "w") as file:
            json.dump(model.seen, file)
"""


@pytest.mark.skipif(find_spec("lightning") is None, reason="Lightning isn't installed")
@pytest.mark.parametrize(("devices", "workers"), [(1, (0, 2)), (2, (0,))])
def test_lightning_gives_every_window_once_an_epoch_in_another_order(
    devices: int, workers: tuple[int, ...], windows: xr.Dataset, sample_lake: Path, tmp_path: Path
) -> None:
    script = tmp_path / "fit.py"
    script.write_text(LIGHTNING)
    strategy = "ddp" if devices > 1 else "auto"
    command = [sys.executable, str(script), str(sample_lake), str(tmp_path), str(devices), strategy]
    command += map(str, workers)  # numbers of workers one after the other: importing Lightning takes longest
    done = subprocess.run(command, timeout=280, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    train, _ = eegzarr.split_by_subject(windows, (0.8, 0.2))
    expected = WindowStream(train, 16, shuffle=True, seed=3, drop_last=True, with_labels=["window"])
    batches = [[labels["window"].tolist() for _, _, labels in expected] for _ in range(3)]
    for count in workers:
        ranks = [json.loads((tmp_path / f"{count}-{rank}.json").read_text()) for rank in range(devices)]
        for epoch, whole in enumerate(batches):
            shares = [[seen for at, seen in rank if at == epoch] for rank in ranks]
            merged = [batch for turn in zip(*shares, strict=True) for batch in turn]
            assert merged == whole[: len(whole) // devices * devices]


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_each_loop_over_a_loader_is_the_next_epoch(workers: int, persistent: bool, windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 32, shuffle=True, crop=0.5)
    expected = []
    for epoch in (0, 1, 2, 7):
        stream.set_epoch(epoch)
        expected.append([(x[0, 0, 0].item(), y.tolist()) for x, y in stream])
    stream.set_epoch(0)
    loader = DataLoader(stream, batch_size=None, num_workers=workers, persistent_workers=persistent)
    for epoch in range(3):
        assert stream.epoch == epoch
        assert [(x[0, 0, 0].item(), y.tolist()) for x, y in loader] == expected[epoch]
    stream.set_epoch(7)
    assert [(x[0, 0, 0].item(), y.tolist()) for x, y in loader] == expected[3]
    if not workers:
        stream.set_epoch(7)
        next(iter(loader))  # left early: the same epoch once more
        assert next(iter(loader))[1].tolist() == expected[3][0][1]
        counted = iter(loader)
        for _ in range(len(loader)):  # and who counts batches has had them all
            next(counted)
        assert next(iter(loader))[1].tolist() != expected[3][0][1]


def test_states_say_what_they_are_of(windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 16, shuffle=True, seed=2)
    whole = np.concatenate([y.numpy() for _, y in stream])
    stream.set_epoch(0)
    batches = iter(stream)
    for _ in range(4):
        next(batches)
    state = stream.state_dict()
    assert {"seed": 2, "epoch": 0, "windows": 64, "shuffle": "global", "batch_size": 16}.items() <= state.items()
    for size in (16, 24, 100):
        other = WindowStream(windows, size, shuffle=True, seed=2)
        other.load_state_dict(state)
        np.testing.assert_array_equal(np.concatenate([y.numpy() for _, y in other]), whole[64:])
        assert other.epoch == 1
    refused = {
        "had seed": WindowStream(windows, 16, shuffle=True),
        "was of other windows": WindowStream(windows.isel(window=slice(1, None)), 16, shuffle=True, seed=2),
        "of other windows: other": WindowStream(windows.isel(window=slice(None, None, -1)), 16, shuffle=True, seed=2),
        "had shuffle='global'": WindowStream(windows, 16, seed=2),
        "shuffle='global', this one has 'block'": WindowStream(windows, 16, shuffle="block", seed=2),
    }
    for told, other in refused.items():
        with pytest.raises(UsageError, match=told):
            other.load_state_dict(state)


def test_a_state_beside_workers_is_not_made_up(windows: xr.Dataset) -> None:
    stream = WindowStream(windows, 16, shuffle=True)
    batches = iter(DataLoader(stream, batch_size=None, num_workers=1))
    next(batches)
    with pytest.raises(UsageError, match="StatefulDataLoader"):
        stream.state_dict()
    del batches
    stream.set_epoch(4)
    assert stream.state_dict()["epoch"] == 4


def test_too_few_batches_for_the_ranks_are_said(windows: xr.Dataset) -> None:
    stream = WindowStream(windows.isel(window=slice(30)), 16, rank=1, ranks=3)
    with pytest.raises(UsageError, match="2 batches of 16 windows are too few for 3 ranks"):
        list(stream)
    assert len(WindowStream(windows.isel(window=slice(30)), 16, rank=1, ranks=3, uneven="pad")) == 1
