"""Cells of tables for people."""

from __future__ import annotations

import math

NOTHING = "-"


def number(value: float | None, digits: int) -> str:
    """Return a number, or what stands for none."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.{digits}f}"


def scored(
    score: float | None,
    difference: dict[str, float | None] | None,
    factor: float,
    digits: int,
    is_control: bool,
    interval: bool,
) -> str:
    """Return a score, with its difference to the control in brackets as far as there is one."""
    if score is None or difference is None:
        return NOTHING
    shown = f"{factor * score:.{digits}f}"
    change, *ends = (difference[key] for key in ("difference", "low", "high"))
    if is_control or change is None:
        return shown
    signed = [NOTHING if end is None else f"{factor * end:+.{digits}f}" for end in ends]
    return f"{shown} ({factor * change:+.{digits}f}{' [' + ', '.join(signed) + ']' if interval else ''})"


def drawn(value: float | None) -> float:
    """Return a value of a table as a figure takes it: nan for what there is none."""
    return math.nan if value is None else value


def drawn_interval(difference: dict[str, float | None]) -> tuple[float, float, float]:
    """Return a difference and the ends of its interval as a figure takes them."""
    return drawn(difference["difference"]), drawn(difference["low"]), drawn(difference["high"])
