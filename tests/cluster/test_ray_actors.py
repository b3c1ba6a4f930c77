"""A job on a real cluster of this machine: errors that are not a thing's are told as what they are."""

import os
from pathlib import Path

import pytest

from segaware.cluster.job import Failure
from segaware.cluster.ray_actors import Cluster, connected, run_on_ray
from tests.cli.test_refine_ray import ray_runs

__all__ = ["ray_runs"]  # a fixture
TWO = Cluster("local", 2)


class Fails:
    """Fails where it is told to: "open", "raise" an error of its own, or "die"; else returns its item twice."""

    def __init__(self, at: str = "") -> None:
        self.at = at

    def open(self) -> None:
        if self.at == "open":
            Path("/none/there").write_bytes(b"")

    def __call__(self, item: str) -> str:
        if item == "raise":
            Path("/none/written").write_bytes(b"")
        if item == "die":
            os._exit(1)
        return 2 * item


@pytest.mark.usefixtures("ray_runs")
def test_what_actors_say() -> None:
    with connected(TWO) as data:
        assert dict(run_on_ray(data, ["a", "b"], Fails(), TWO)) == {"a": "aa", "b": "bb"}
        with pytest.raises(OSError, match=r"an actor on .* cannot work: FileNotFoundError: .*/none/there"):
            list(run_on_ray(data, ["a", "b"], Fails("open"), TWO))
        with pytest.raises(OSError, match=r"an actor on .* cannot work: FileNotFoundError: .*/none/written"):
            list(run_on_ray(data, ["a", "raise"], Fails(), TWO))
        results = dict(run_on_ray(data, [*"abcdefghijklmnopqr", "die"], Fails(), TWO))
    assert results.pop("die") == Failure("its actor was lost 4 times: out of memory?")
    assert results == {letter: 2 * letter for letter in "abcdefghijklmnopqr"}


@pytest.mark.usefixtures("ray_runs")
def test_a_cluster_without_gpus() -> None:
    with (
        pytest.raises(ValueError, match="--gpus 1: the cluster of --ray local has no such GPU"),
        connected(Cluster("local", 1, 1)),
    ):
        pass
