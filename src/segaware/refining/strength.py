"""How much of what a layer makes of its input is taken, and how blurred the input is."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch

from segaware.ops.arguments import is_number
from segaware.refining.kinds import Given, Open

Strength: TypeAlias = float | Literal["auto"]
"""A number in 0..1 for all pixels, or "auto" for what `segaware.nn.certainty_gate` says of each."""

_ROWS = 64  # pairs of them that are looked at for transitions


def check_strength(strength: Strength) -> None:
    """Raise ValueError if it is none."""
    if strength != "auto" and not (is_number(strength) and 0 <= strength <= 1):
        raise ValueError(f"strength must be 'auto' or a number in 0..1, got {strength!r}")


def transition_width(opened: Open, given: Given) -> float:
    """Return how many points it takes from one class to the next: the median over borders, 0 without any.

    Between two neighbours of different classes, of which each has a margin over the other at its own point, margins
    change by their sum; from one certain class to another they change by 2. That is 1 for a border without any blur.

    Args:
        opened: Opens scores, probabilities or masks (C, h, w).
        given: What they are.
    """
    widths = []
    for row in np.unique(np.linspace(0, max(opened().shape[1] - 2, 0), _ROWS).astype(int)):
        part = given.probabilities(torch.from_numpy(np.array(opened()[:, row : row + 2], np.float32)))[0]
        if given.exclusive:
            most, winner = part.max(0)
        else:
            most, winner = (part - 0.5).abs() + 0.5, part > 0.5
        for dim in (-1, -2):
            pairs = most.shape[dim] - 1
            (a, first), (b, second) = ([x.narrow(dim, i, pairs) for x in (most, winner)] for i in (0, 1))
            widths.append(1 / (a + b - 1)[first != second].clamp(min=1e-3))
    found = torch.cat(widths)
    return float(found.median()) if len(found) else 0.0
