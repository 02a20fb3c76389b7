"""Memory of batches that is page-locked: always PyTorch's own, which knows until when a copy needs it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from eegzarr.stream.decoding import buffers
from eegzarr.stream.decoding.buffers import BufferPool


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether page-locked memory was asked for, of each tensor that PyTorch made, on a machine without a GPU."""
    told: list[bool] = []
    empty = torch.empty

    def note(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        told.append(pin_memory)
        return empty(*shape, **options)

    monkeypatch.setattr(torch, "empty", note)
    return told


def test_page_locked_memory_comes_from_pytorch_for_each_batch(
    asked: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffers, "can_pin", lambda: True)
    pool = BufferPool((8, 2, 5), "float16", pin_memory=True)
    for number in range(4):  # each is dropped before the next: the other pool would give the same memory again
        tensor, rows = pool.take(6)
        # The tensor is the whole of a block of PyTorch's allocator: by that it finds a block again at a copy.
        assert tensor.storage_offset() == 0
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
        assert (tuple(tensor.shape), tensor.dtype) == ((6, 2, 5), torch.float16)
        rows[:] = number
        assert tensor.eq(number).all()
        assert len(asked) == number + 1
        del tensor, rows
    assert asked == [True] * 4
    pool.trim(0)


def test_memory_that_is_not_page_locked_is_used_again(asked: list[bool]) -> None:
    pool = BufferPool((8, 2, 5), "float32", pin_memory=False)
    for _ in range(4):
        tensor, rows = pool.take(6)
        assert np.shares_memory(tensor.numpy(), rows)
        del tensor, rows
    assert asked == [False]


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
def test_without_a_gpu_batches_are_as_they_would_be_otherwise_and_a_warning_says_so() -> None:
    with pytest.warns(UserWarning, match="pin_memory has no effect: PyTorch finds no GPU"):
        pool = BufferPool((8, 2, 5), "float32", pin_memory=True)
    tensor, _ = pool.take(8)
    assert not tensor.is_pinned()
