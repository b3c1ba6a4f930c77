"""What the logger "segaware" is told: what is chosen for the user, and why."""

import logging
import os
import subprocess
import sys

import pytest
import torch

from segaware import segaware_conv2d
from segaware.ops import _backends
from segaware.ops.permutohedral import op as permutohedral


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log of a process that has chosen nothing yet."""
    caplog.set_level(logging.INFO, logger="segaware")
    _backends._log_choice.cache_clear()
    permutohedral._log_copies.cache_clear()
    return caplog


def choose(device: str, missing: dict[str, str] | None = None) -> str:
    return _backends.choose_backend(None, torch.device(device), missing)


def test_every_choice_and_reason_is_told_once(log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backends, "_problems", {"numba": None, "triton": None})
    for _ in range(3):
        assert [choose("cpu"), choose("cuda"), choose("meta")] == ["numba", "triton", "reference"]
        assert choose("cuda", {"triton": "its products are too narrow"}) == "reference"
        monkeypatch.setitem(_backends._problems, "numba", "Numba cannot be imported")
        assert choose("cpu") == "reference"
        monkeypatch.setitem(_backends._problems, "numba", None)
    assert log.messages == [
        'cpu tensors: backend "numba"',
        'cuda tensors: backend "triton"',
        'meta tensors: backend "reference", because no kernels run there',
        'cuda tensors: backend "reference", because "triton" cannot run: its products are too narrow',
        'cpu tensors: backend "reference", because "numba" cannot run: Numba cannot be imported',
    ]
    assert {record.levelname for record in log.records} == {"INFO"}


def test_a_lattice_of_another_device_tells_of_its_copies_once(log: pytest.LogCaptureFixture) -> None:
    for backend in (None, "numba", None, "reference"):
        permutohedral._choose_backend(backend, torch.device("cuda"))
    assert log.messages == [
        'cpu tensors: backend "numba"',
        "cuda tensors: the permutohedral lattice is computed on the CPU; features and values are copied there, and the "
        "result back",
    ]


def test_what_is_asked_for_is_not_told(log: pytest.LogCaptureFixture) -> None:
    _backends.choose_backend("reference", torch.device("cpu"))
    assert log.messages == []


def test_compiled_calls_have_no_part_in_it(log: pytest.LogCaptureFixture) -> None:
    """A graph with a call of a logger breaks, so `fullgraph` would raise."""
    image, mask = torch.rand(1, 2, 5, 5), torch.ones(1, 9, 5, 5)

    def convolve() -> torch.Tensor:
        return segaware_conv2d(image, image[:, :, :3, :3], mask, padding=1)

    compiled = torch.compile(convolve, fullgraph=True, backend="eager")
    assert torch.equal(compiled(), convolve())
    assert sum("tensors: backend" in message for message in log.messages) == 1  # the others tell what Numba compiles


SCRIPT = """
import logging, numba.core.caching, sys, torch
numba.core.caching.CacheImpl._locator_classes = []
if "told" in sys.argv:
    logging.basicConfig(level="INFO", format="%(name)s: %(message)s")
import segaware
image = torch.rand(1, 2, 5, 5)
segaware.embedding_distance(image, 3)
segaware.embedding_distance(image, 3)
"""


def test_nothing_is_printed_unless_the_program_listens() -> None:
    def errors(*arguments: str) -> list[str]:
        command = [sys.executable, "-c", SCRIPT, *arguments]
        environment = os.environ | {"NUMBA_OPT": "0"}  # which compiles in half the time
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return done.stderr.splitlines()

    assert errors() == []
    assert [line for line in errors("told") if line.startswith("segaware")] == [
        'segaware.ops._backends: cpu tensors: backend "numba"',
        "segaware.ops._parallel: kernels are compiled anew in every process: no folder can be written to keep their "
        "machine code in",
    ]
