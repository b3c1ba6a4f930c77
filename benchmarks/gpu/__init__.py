"""The benchmark on a GPU: layers, distances, filters and CRFs, whole networks, and the ceilings of the card itself."""

from __future__ import annotations

from benchmarks.gpu import depthwise, layers, networks, operators
from benchmarks.harness.plan import Measurement, Settings


def plan(settings: Settings) -> list[Measurement]:
    """Return the measurements; the long form has batches of 32, float32 and images of 513x513, too."""
    return [
        *operators.ceilings_plan(settings),
        *layers.plan(settings),
        *depthwise.plan(settings),
        *operators.plan(settings),
        *networks.plan(settings),
    ]
