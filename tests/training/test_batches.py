"""Batches for training."""

import os
import signal

import pytest

from segaware.data import Scenes
from segaware.training import shuffled_batches


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_leaves_the_loaders_to_the_training(number: signal.Signals) -> None:
    batches = iter(shuffled_batches(Scenes(64, (16, 16)), 1, seed=0, workers=1))
    next(batches)
    (worker,) = batches._workers  # type: ignore[attr-defined]
    os.kill(worker.pid, number)
    assert len(list(batches)) == 63
