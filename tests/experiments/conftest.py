"""Trainings that several tests look at."""

from pathlib import Path

import pytest
import torch
from torch import nn

from segaware.experiments.run import load_network, train
from segaware.experiments.workspace import Workspace

from .tiny_recipes import tiny


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with trained tiny recipes demo/baseline, demo/embedding and demo/segaware. Do not write to it."""
    folder = tmp_path_factory.mktemp("trained") / "runs"
    for name in ("demo/baseline", "demo/embedding", "demo/segaware"):
        train(name, tiny(name), Workspace(folder))
    return folder


@pytest.fixture
def network(runs: Path) -> nn.Module:
    """The network of demo/segaware, as in training, with predictions that vary as those of a tiny one hardly do."""
    network, _ = load_network("demo/segaware", tiny("demo/segaware"), Workspace(runs).weights("demo/segaware"))
    torch.manual_seed(0)
    nn.init.normal_(network.get_submodule("fc8").weight)  # type: ignore[arg-type]
    return network.train()
