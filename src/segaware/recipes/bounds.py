"""Numbers of recipes, with the bounds of what makes sense."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from segaware.recipes.names import run_name


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):  # YAML reads "yes" and "on" so, and Python takes true for 1
        raise ValueError("must be a number")
    return value


def increasing(widths: tuple[int, ...]) -> tuple[int, ...]:
    """Return widths that are in increasing order."""
    if not widths or list(widths) != sorted(set(widths)):
        raise ValueError("must be one or more numbers in increasing order")
    return widths


def _seed(number: int) -> int:
    if not 0 <= number < 2**32:  # NumPy's bounds
        raise ValueError(f"{number} is not in bounds, from 0 to {2**32 - 1}")
    return number


def _low_high(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError("must be low <= high")
    return limits


def _run(name: str) -> str:
    run_name(name)
    return name


# The upper bounds are far beyond what makes sense: they keep a slip of the finger from asking for all memory, for
# processes without end, or for a training that can only end in numbers that are not finite.
NUMBER = BeforeValidator(_no_bool)
Seed = Annotated[int, NUMBER, AfterValidator(_seed)]
Count = Annotated[int, NUMBER, Field(gt=0, le=10**9)]  # of images, epochs, steps
SceneCount = Annotated[int, NUMBER, Field(gt=0, le=10**7)]
Side = Annotated[int, NUMBER, Field(gt=0, le=8192)]  # pixels
BatchSize = Annotated[int, NUMBER, Field(gt=0, le=4096)]
Workers = Annotated[int, NUMBER, Field(ge=0, le=256, description="processes that load data")]
Width = Annotated[float, NUMBER, Field(gt=0, le=8)]  # a factor on the channels of all layers
Channels = Annotated[int, NUMBER, Field(gt=0, le=4096)]
KernelSize = Annotated[int, NUMBER, Field(ge=0, le=255)]  # 0 is none
Dilation = Annotated[int, NUMBER, Field(gt=0, le=1024)]
Radius = Annotated[float, NUMBER, Field(ge=4, le=8192)]  # pixels
Offsets = Annotated[int, NUMBER, Field(ge=0, le=256)]  # beyond those of 1 to 3 pixels
Stride = Annotated[int, NUMBER, Field(gt=0, le=64)]
Iterations = Annotated[int, NUMBER, Field(gt=0, le=1000)]
IterationsOrNone = Annotated[int, NUMBER, Field(ge=0, le=1000)]  # 0 for none
Positive = Annotated[float, NUMBER, Field(gt=0, le=10**4)]
NonNegative = Annotated[float, NUMBER, Field(ge=0, le=10**4)]
Scale = Annotated[float, NUMBER, Field(gt=0, le=100)]
LearningRate = Annotated[float, NUMBER, Field(gt=0, le=100)]
WeightDecay = Annotated[float, NUMBER, Field(ge=0, le=10)]
GradientNorm = Annotated[float, NUMBER, Field(gt=0, le=10**9)]
Power = Annotated[float, NUMBER, Field(ge=0, le=100)]
Degrees = Annotated[float, NUMBER, Field(ge=0, le=360)]
Number = Annotated[float, NUMBER, Field(allow_inf_nan=False)]
Fraction = Annotated[float, NUMBER, Field(ge=0, le=1)]
BelowOne = Annotated[float, NUMBER, Field(ge=0, lt=1)]
Run = Annotated[str, AfterValidator(_run)]  # a recipe or recipe file, by the run folder that it stands for
Range = Annotated[tuple[Scale, Scale], AfterValidator(_low_high)]
