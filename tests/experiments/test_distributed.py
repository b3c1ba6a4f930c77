"""Several processes train and score as one does."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.utils.data import Dataset

from segaware import ranks
from segaware.experiments.run import train
from segaware.experiments.table import run_table
from segaware.experiments.workspace import Workspace
from segaware.recipes.files import RecipeError
from segaware.training import Devices, check_together, load_weights, shuffled_batches

from .tiny_recipes import STEPS, tiny, write_recipe

EPOCHS = 5
LARGEST_DIFFERENCE = 1e-5  # of weights after 20 steps; measured: 1.3e-6


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "world_size", lambda: 2)


@pytest.fixture
def table(tmp_path: Path) -> str:
    """An embedding, and a network that starts from it; some images are smaller than their crop, so parts are void."""
    values = [f"train.epochs={EPOCHS}", "data.scale=[0.6, 1.0]", "data.jitter=0.3"]
    embedding = write_recipe(tmp_path / "embedding.yaml", tiny("demo/embedding", *values))
    start = ["start.model=null", f"start.embedding={embedding}", "model.batch_norm=false"]
    write_recipe(tmp_path / "aware.yaml", tiny("demo/segaware", *values, *start))
    path = tmp_path / "table.yaml"
    rows = {"control": "aware.yaml", "rows": ["aware.yaml"], "figure": None}
    path.write_text(yaml.safe_dump({"title": "Tiny", "about": "Tiny.", "published": [], "data": {}, **rows}))
    return str(path)


@pytest.mark.timeout(900)  # each process imports everything
def test_two_processes_are_as_one(table: str, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "segaware"), "table", table, "--devices", "2", "--accelerator", "cpu"]
    paths = ["--runs", str(tmp_path / "two"), "--out", str(tmp_path / "results"), "--no-costs"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEGAWARE_")}
    environment["OMP_NUM_THREADS"] = "1"
    finished = subprocess.run([*command, *paths], capture_output=True, text=True, env=environment)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("training 1 of 2:") == finished.stdout.count("table.json") == 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run_table(table, Workspace(tmp_path / "one"), costs=False)
    for name in ("embedding", "aware"):
        (one, _), (both, description) = (load_weights(Workspace(tmp_path / n).weights(name)) for n in ("one", "two"))
        assert (description["steps"], description["devices"]) == (EPOCHS * STEPS, "2 x cpu")
        assert one.keys() == both.keys()
        # Distances do not depend on the biases of an embedding's heads, whose gradient is 0 but for rounding; AdamW
        # makes steps of that.
        compared = [key for key in one if one[key].numel() and not re.search(r"head\d\.bias$", key)]
        largest = max((one[key] - both[key]).abs().max().item() for key in compared)
        assert largest < LARGEST_DIFFERENCE
        logs = tmp_path / "two" / name / "logs"
        assert len(list(logs.glob("metrics*.csv"))) == len(list(logs.glob("events*"))) == 1
    # Scored by two, and by one.
    again = shutil.copytree(tmp_path / "two", tmp_path / "again")
    (again / "aware/scores.npz").unlink()
    run_table(table, Workspace(again), costs=False)
    torch.set_num_threads(threads)
    with np.load(tmp_path / "two/aware/scores.npz") as theirs, np.load(again / "aware/scores.npz") as ours:
        assert theirs["confusion"].sum() > 0
        for key in set(ours) - {"milliseconds"}:
            assert np.array_equal(theirs[key], ours[key]), key


class _Noise(Dataset[Any]):
    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: int) -> tuple[int, float]:
        return index, torch.rand(()).item()


@pytest.mark.parametrize("begun", [0, 1])
def test_processes_share_every_batch(begun: int) -> None:
    """What is drawn for a sample does not depend on the process that gets it."""
    loaders = [shuffled_batches(_Noise(), 4, seed=3, rank=r, world_size=size) for r, size in ((0, 1), (0, 2), (1, 2))]
    for loader in loaders:
        loader.sampler.set_epoch(2)  # type: ignore[union-attr]
        loader.sampler.skip(2, begun)  # type: ignore[union-attr]
    assert [len(loader) for loader in loaders] == [2, 2, 2]
    whole, first, second = ([torch.stack(batch, 1) for batch in loader] for loader in loaders)
    assert len(whole) == len(first) == len(second) == 2 - begun
    for batch, *parts in zip(whole, first, second, strict=True):
        assert torch.equal(batch, torch.stack(parts, 1).flatten(0, 1))


def test_every_image_is_scored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "world_size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        shares.append(list(ranks.share(7)))
    assert shares == [[0, 3, 6], [1, 4], [2, 5]]


@pytest.mark.usefixtures("two")
def test_batches_that_cannot_be_shared(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"data\.batch_size=3 is not a multiple of the 2 processes"):
        train("demo/baseline", tiny("demo/baseline", "data.batch_size=3"), Workspace(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("two")
def test_batch_norm_that_cannot_be_shared(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"batch normalisation \(network\..*\) over the samples of 2 processes"):
        train("demo/baseline", tiny("demo/baseline", "model.batch_norm=true"), Workspace(tmp_path))
    assert list(tmp_path.iterdir()) == []
    check_together(nn.BatchNorm2d(3).eval())  # type: ignore[arg-type]


ENVIRONMENTS = {
    "none": ({}, ("1", 1, "auto")),
    "torchrun": (
        {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "2"},
        ("4", 2, "ddp_find_unused_parameters_true"),
    ),
    "SLURM": ({"SLURM_NTASKS": "6", "SLURM_NNODES": "3"}, ("2", 3, "ddp_find_unused_parameters_true")),
    "SLURM, one task": ({"SLURM_NTASKS": "1", "SLURM_NNODES": "1"}, ("1", 1, "auto")),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_launchers_decide(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_NNODES", "SLURM_JOB_NAME"):
        monkeypatch.delenv(variable, raising=False)
    environment, (devices, nodes, strategy) = ENVIRONMENTS[name]
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    wanted = {"devices": devices, "num_nodes": nodes, "strategy": strategy, "accelerator": "auto"}
    assert Devices().options() == wanted
    assert Devices("0,3", 5, "fsdp", "gpu").options() == {
        "devices": "0,3",
        "num_nodes": 5,
        "strategy": "fsdp",
        "accelerator": "gpu",
    }
