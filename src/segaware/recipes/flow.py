"""What recipes of optical flow say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from segaware.ops.convolution.reference import Normalize
from segaware.recipes.bounds import (
    NUMBER,
    Degrees,
    Fraction,
    Iterations,
    KernelSize,
    NonNegative,
    Number,
    Range,
    Side,
    Width,
    increasing,
)
from segaware.recipes.schema import Recipe, SampleData, SampleEvaluation, Section, Start, Train, dataset_of

FlowDataset = Annotated[str, dataset_of("flow")]


class Affine(Section):
    """Random affine maps of both images; see `segaware.data.flow.FlowRandomAffine`."""

    scale: Range
    rotate: Degrees = Field(description="degrees")
    translate: Fraction = Field(description="of the image's sides")
    relative_scale: NonNegative = Field(description="of the second image to the first: standard deviation of log")
    relative_rotate: Degrees = Field(description="standard deviation in degrees")
    relative_translate: NonNegative = Field(description="standard deviation in pixels")


class ColorChange(Section):
    """Random colours of both images; see `segaware.data.flow.FlowColorJitter`."""

    brightness: NonNegative
    contrast: Range
    gamma: Range
    color: Range
    noise: NonNegative


class FlowData(SampleData):
    """The pairs of images and how they are varied in training."""

    name: FlowDataset
    size: tuple[Side, Side] | None = Field(description="height and width of pairs that are made")
    flip: tuple[Fraction, Fraction] = Field(description="probabilities of mirroring left and right, top and bottom")
    affine: Affine | None
    color: ColorChange | None


class FlowModel(Section):
    """FlowNet; see `segaware.models.FlowNetS`, `SegAwareFlowNetS` and `FlowNetC`."""

    network: Literal["flownets", "flownetc"]
    width: Width
    batch_norm: bool
    segaware_prediction: bool = Field(description="whether the last layer that predicts flow is segmentation-aware")
    hardness: NonNegative
    normalize: Normalize
    filter_kernel_size: KernelSize
    filter_iterations: Iterations
    filter_hardness: NonNegative
    filter_stride: Annotated[Literal[1, 2, 4], NUMBER]
    variational: bool = Field(description="refine the flow; see `segaware.models.VariationalRefinement`")


class FlowEvaluation(SampleEvaluation):
    """What is scored of optical flow."""

    distances: Annotated[tuple[Side, ...], AfterValidator(increasing)] = Field(
        description="distances to a motion boundary in pixels"
    )
    also: tuple[FlowDataset, ...] = Field(description="other data sets to score; those that are not there are not")


class FlowRecipe(Recipe):
    """Train a network that estimates optical flow."""

    stage: Literal["flow"]
    published: Number | None = Field(description="mean end-point error in the paper, in pixels; null where it has none")
    published_angle: Number | None = Field(description="mean angular error in the paper, in degrees")
    data: FlowData
    model: FlowModel
    start: Start
    train: Train | None
    evaluation: FlowEvaluation
