"""Cases of the benchmark as tables."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

HEADERS = ["contender", "median [10-90 %]", "ratio to baseline", "first call", "goal"]


def case_rows(case: dict[str, Any]) -> list[list[str]]:
    """Return a row of cells per contender for the values of `benchmarks.harness.measure.summarize`."""
    unit, baseline = case["unit"], case["baseline"]
    rows = []
    for row in case["rows"]:
        if "problem" in row:
            rows.append([row["title"], row["problem"], "", "", ""])
            continue
        ratio = "" if row["ratio"] is None else "baseline" if row["title"] == baseline else _interval(row["ratio"])
        first = "" if row["first"] is None else f"{_number(row['first'])} {unit}"
        goals = "; ".join(_goal(goal, baseline) for goal in row["goals"])
        rows.append([row["title"], _interval(row["value"], f" {unit}"), ratio, first, goals])
    return rows


def show_case(console: Console, group: str, case: dict[str, Any]) -> None:
    """Print a case."""
    view = Table(*HEADERS, title=f"{group}: {case['title']}", title_justify="left", box=box.SIMPLE_HEAD)
    for column in view.columns[2:4]:
        column.no_wrap = True
    for row in case_rows(case):
        view.add_row(*row)
    console.print(view)


def _goal(goal: dict[str, Any], baseline: str | None) -> str:
    if goal["ratio"] is None:
        return f"no {goal['to']} to compare with"
    verdict = "met" if goal["met"] else "MISSED"
    ratio, limit = _number(goal["ratio"]["median"]), f"{goal['limit']:g}"
    if goal["faster"]:
        return f"{ratio}x as fast as {goal['to']}, >= {limit}: {verdict}"
    return f"<= {limit}: {verdict}" if goal["to"] == baseline else f"{ratio}x {goal['to']}, <= {limit}: {verdict}"


def _interval(spread: dict[str, float], unit: str = "") -> str:
    if spread["low"] == spread["high"]:  # one value
        return f"{_number(spread['median'])}{unit}"
    return f"{_number(spread['median'])}{unit} [{_number(spread['low'])}, {_number(spread['high'])}]"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
