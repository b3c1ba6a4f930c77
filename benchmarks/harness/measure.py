"""Timing contenders in turn, and what is reported of their times."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

# By title; a contender that cannot run is the reason why.
Contenders: TypeAlias = Mapping[str, Callable[[], Any] | str]
# Called with a function and a number of calls; returns the seconds of one, and what the last one returned.
Clock: TypeAlias = Callable[[Callable[[], Any], int], tuple[float, Any]]

_FEW, _ENOUGH, _MOST = 3, 7, 100
_UNITS = {"ms": 1e3, "us": 1e6, "MB": 1.0, "GB/s": 1.0, "TFLOP/s": 1.0}


@dataclass
class Samples:
    """What was measured of one contender: seconds or megabytes, the first call apart, one value per round."""

    first: float | None
    rounds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Goal:
    """How the fastest of some contenders shall compare with the fastest of others.

    Attributes:
        of: Titles of the contenders whose goal it is.
        to: Titles of the contenders they are compared with.
        limit: The ratio of their times.
        faster: Whether `of` must be at least `limit` times as fast, or may take at most `limit` times as long.
    """

    of: tuple[str, ...]
    to: tuple[str, ...]
    limit: float
    faster: bool = False


def wall_clock(run: Callable[[], Any], calls: int) -> tuple[float, Any]:
    """Time calls by this computer's clock."""
    start = time.perf_counter()
    for _ in range(calls):
        output = run()
    return (time.perf_counter() - start) / calls, output


def interleave(
    contenders: Contenders,
    seconds: float,
    seed: int,
    calls: int = 1,
    same: Mapping[str, int] | None = None,
    clock: Clock = wall_clock,
    tolerance: float = 1e-3,
) -> dict[str, Samples | str]:
    """Time contenders in turn, round after round, in an order that is drawn anew for each round.

    Whoever's calls have taken `seconds` and are at least 7 takes part no longer; a slow one, whose 7 calls would take
    five times that, stops after as few as 3.

    Args:
        contenders: What to call.
        seconds: Time for each contender's calls.
        seed: Of the orders.
        calls: Calls per round, for those too short to be timed alone.
        same: Contenders that must compute what the first contender does, with the width of the border where they
            need not.
        clock: What times them.
        tolerance: How far the outputs of these may be apart, relative to the largest value.

    Returns:
        Per title its times in seconds, or why there are none. The first call is timed apart: it may compile.
    """
    results: dict[str, Samples | str] = {}
    expected = None
    for title, run in contenders.items():
        if isinstance(run, str):
            results[title] = run
            continue
        try:
            first, output = clock(run, 1)
            results[title] = Samples(first)
            if expected is None:
                expected = output
            elif title in (same or {}):
                _check_same(output, expected, (same or {})[title], tolerance)
        except Exception as error:  # whatever a contender fails with, the others are still measured
            results[title] = _reason(error)
    expected = output = None  # freed, for the memory of a process is measured around this function
    running = [title for title, result in results.items() if isinstance(result, Samples)]
    order = random.Random(seed)
    while running:
        order.shuffle(running)
        for title in running:
            run, result = contenders[title], results[title]
            assert not isinstance(run, str) and isinstance(result, Samples)
            took, output = clock(run, calls)
            result.rounds.append(took)
            del output  # freed outside the time
        running = [title for title in running if _goes_on(results[title].rounds, seconds / calls)]  # type: ignore[union-attr]
    return results


def _goes_on(rounds: Sequence[float], seconds: float) -> bool:
    if len(rounds) < _ENOUGH:
        return len(rounds) < _FEW or sum(rounds) < 5 * seconds
    return len(rounds) < _MOST and sum(rounds) < seconds


def _check_same(output: Tensor, expected: Tensor, border: int, tolerance: float) -> None:
    output, expected = (
        x[..., border : x.shape[-2] - border, border : x.shape[-1] - border] for x in (output, expected)
    )
    difference = (output - expected).abs().max().item() / expected.abs().max().item()
    if not difference < tolerance:
        raise ValueError(f"its output differs by {difference:.2g}, relative to the largest value")


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return "out of memory"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def summarize(
    title: str, unit: str, results: Mapping[str, Samples | str], baseline: Sequence[str], goals: Sequence[Goal] = ()
) -> dict[str, Any]:
    """Reduce samples to medians, spreads, ratios to the fastest of `baseline`, and goals, as JSON-like values.

    A ratio is the median of the ratios within each round, so that what slows a whole round does not count.
    """
    reference = _fastest(results, baseline)
    rows: list[dict[str, Any]] = []
    for contender, result in results.items():
        if isinstance(result, str):
            rows.append({"title": contender, "problem": result})
            continue
        scale = _UNITS[unit]
        rows.append(
            {
                "title": contender,
                "value": _spread([scale * value for value in result.rounds]),
                "rounds": len(result.rounds),
                "first": None if result.first is None else scale * result.first,
                "ratio": None if reference is None else _ratio(results, contender, reference),
                "goals": [_outcome(results, goal) for goal in goals if contender == _fastest(results, goal.of)],
            }
        )
    return {"title": title, "unit": unit, "baseline": reference, "rows": rows}


def _fastest(results: Mapping[str, Samples | str], titles: Sequence[str]) -> str | None:
    medians = {t: np.median(r.rounds) for t, r in results.items() if t in titles and isinstance(r, Samples)}
    return min(medians, key=lambda title: medians[title]) if medians else None


def _outcome(results: Mapping[str, Samples | str], goal: Goal) -> dict[str, Any]:
    of, to = _fastest(results, goal.of), _fastest(results, goal.to)
    outcome = {"limit": goal.limit, "faster": goal.faster, "to": to or " or ".join(goal.to), "ratio": None, "met": None}
    if of is not None and to is not None:
        ratio = _ratio(results, to, of) if goal.faster else _ratio(results, of, to)
        met = ratio["median"] >= goal.limit if goal.faster else ratio["median"] <= goal.limit
        outcome |= {"ratio": ratio, "met": met}
    return outcome


def _ratio(results: Mapping[str, Samples | str], of: str, to: str) -> dict[str, float]:
    over, under = results[of], results[to]
    assert isinstance(over, Samples) and isinstance(under, Samples)
    return _spread([a / b for a, b in zip(over.rounds, under.rounds, strict=False)])  # the slower one stops earlier


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, median, high = np.percentile(values, [10, 50, 90])
    return {"median": float(median), "low": float(low), "high": float(high)}
