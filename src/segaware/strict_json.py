"""Standard JSON, with null for NaN and infinity, which Python writes although the standard has neither."""

from __future__ import annotations

import json
import math
from typing import Any


def strict_json(values: Any, indent: int | None = None) -> str:
    """Return values as JSON, a number that is not finite as null.

    Args:
        values: Dicts, lists, tuples, text, numbers, bools and None.
        indent: As for `json.dumps`.

    Raises:
        TypeError: If there are values of another kind.

    Example:
        >>> strict_json({"miou": float("nan"), "interval": (0.5, float("inf"))})
        '{"miou": null, "interval": [0.5, null]}'
    """
    return json.dumps(finite(values), indent=indent, allow_nan=False)


def finite(values: Any) -> Any:
    """Return JSON-like values with None for every number that is not finite."""
    if isinstance(values, dict):
        return {key: finite(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
