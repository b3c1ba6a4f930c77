"""The simulation of a cluster, by hand."""

import math

import pytest

from benchmarks.groups.shards import scaled, simulate


def never(_: int) -> float:
    return math.inf


def test_workers_take_one_shard_after_the_other() -> None:
    assert simulate([4, 4, 4], 0.5, 1, 3, never) == 3 + 6
    assert simulate([4, 4, 4], 0.5, 2, 3, never) == 3 + 4
    assert simulate([9, 1, 1, 1], 1, 2, 0, never) == 9


def test_a_lost_worker_begins_anew_and_its_shard_is_done_again() -> None:
    losses = {1: 1.5}
    # The second worker is lost at 1.5 and ready at 11.5; the first one does the shards 0, 2 and, again, 1.
    assert simulate([4, 4, 4], 0.5, 2, 10, lambda attempt: losses.get(attempt, math.inf)) == 10 + 6
    assert simulate([4], 0.5, 1, 10, lambda attempt: {0: 1.5}.get(attempt, math.inf)) == 10 + 1.5 + 10 + 2
    assert simulate([4], 0.5, 1, 10, lambda attempt: {0: 2.5}.get(attempt, math.inf)) == 10 + 2  # when it is done


def test_scaled_is_the_ideal_and_what_is_lost() -> None:
    for row in scaled(0.5, 10):
        assert row["ideal_hours"] == pytest.approx(row["photographs"] * 0.5 / row["cores"] / 3600)
        assert row["ideal_hours"] < row["hours"] < 1.5 * row["ideal_hours"]
