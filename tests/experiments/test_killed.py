"""A training that is killed at any moment and started again ends as one that was not, bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segaware.training import load_weights

from .tiny_recipes import tiny, write_recipe

KILLS = 10
# Kills forked processes, which need not import everything again, after random times; checkpoints are written all the
# time, so that some are killed while they write one.
SCRIPT = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from segaware.experiments.run import train
from segaware.experiments.workspace import Workspace
from segaware.recipes.files import load_recipe
from segaware.training import engine, find_checkpoint

torch.set_num_threads(1)
engine.SAVED_EVERY = 0.0
name, runs, wanted = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
recipe = load_recipe(name)

def begin(folder):
    process = os.fork()
    if process == 0:
        status = 1
        try:
            train(name, recipe, Workspace(folder))
            status = 0
        finally:
            os._exit(status)
    return process

def ends(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

started = time.monotonic()
assert ends(begin(runs / "whole")) == 0
seconds = time.monotonic() - started
finished, killed, went_on = [], 0, 0
while killed < wanted:
    folder = runs / str(len(finished))
    while True:
        process = begin(folder)
        if killed < wanted:
            time.sleep(random.uniform(0, seconds))
            os.kill(process, signal.SIGKILL)
        status = ends(process)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        killed += 1
        went_on += find_checkpoint(Workspace(folder).folder(name)) is not None
    finished.append(str(folder))
print(json.dumps([finished, killed, went_on]))
"""


@pytest.mark.timeout(900)  # twelve trainings and more
def test_killed_at_any_moment(tmp_path: Path) -> None:
    values = ["model.dropout=0.5", "data.jitter=0.3", "data.scale=[1.0, 1.5]", "train.epochs=3"]
    recipe = write_recipe(tmp_path / "tiny.yaml", tiny("demo/baseline", *values))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, recipe, str(tmp_path), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    finished, killed, went_on = json.loads(done.stdout.splitlines()[-1])
    assert killed == KILLS and went_on > 0
    whole, _ = load_weights(tmp_path / "whole/tiny/model.safetensors")
    for folder in finished:
        weights, description = load_weights(Path(folder) / "tiny/model.safetensors")
        assert description["steps"] == 12
        assert weights.keys() == whole.keys() and all(torch.equal(weights[key], whole[key]) for key in whole), folder
