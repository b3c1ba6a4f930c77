"""What recipes of embeddings and of segmentation say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from segaware.choices import (
    CRF,
    Average,
    BatchNorm,
    GivenScores,
    Hinge,
    LossAt,
    Precision,
    SegAwareLayers,
    SegAwareV2Layers,
    StrideIn,
    Trunk,
)
from segaware.data.mixture import mixed_records
from segaware.data.registry import dataset, dataset_names
from segaware.ops.convolution.reference import Normalize
from segaware.ops.distance.reference import Metric
from segaware.recipes.bounds import (
    BelowOne,
    Channels,
    Count,
    Dilation,
    Fraction,
    Iterations,
    IterationsOrNone,
    KernelSize,
    NonNegative,
    Number,
    Offsets,
    Positive,
    Radius,
    Range,
    Side,
    Stride,
    Width,
    increasing,
)
from segaware.recipes.schema import (
    LearnedEmbeddingOptions,
    Recipe,
    SampleData,
    SampleEvaluation,
    Section,
    Start,
    Train,
    dataset_of,
)

SegmentationDataset = Annotated[str, dataset_of("segmentation")]


class Data(SampleData):
    """Labelled images and how they are varied in training."""

    name: SegmentationDataset
    scale: Range = Field(description="range of random scales")
    flip: Fraction = Field(description="probability of mirroring")
    jitter: Fraction = Field(description="strength of random brightness, contrast and saturation")


def _mixture(weights: dict[str, float] | None) -> dict[str, float] | None:
    if weights is not None:
        mixed_records(weights)
    return weights


class EmbeddingData(Data):
    """Labelled images for embeddings, of one data set or a mixture."""

    mixture: Annotated[dict[str, Positive] | None, AfterValidator(_mixture)] = Field(
        description="by name of a data set, how often training draws it: length samples an epoch. Null is data.name "
        "alone, which validation uses in any case"
    )


class DenseCRFOptions(Section):
    """A fully connected CRF; see `segaware.nn.DenseCRF`."""

    gaussian_sxy: Positive
    gaussian_compat: NonNegative
    bilateral_sxy: Positive
    bilateral_srgb: Positive
    bilateral_compat: NonNegative
    iterations: Iterations


class GuidedFilterOptions(Section):
    """A guided filter; see `segaware.nn.GuidedFilter`."""

    type: Literal["guided"]
    radius: Side
    epsilon: Positive


class MattingOptions(Section):
    """Closed-form matting of every class, with the constants of rembg's `alpha_matting`."""

    type: Literal["closed_form_matting"]


class ScoreRefinementOptions(Section):
    """What sharpens scores; see `segaware.models.ScoreRefinement`."""

    filter_kernel_size: KernelSize
    filter_dilation: Dilation
    filter_iterations: Iterations
    filter_hardness: NonNegative
    filter_stride: Stride
    filter_probabilities: bool = Field(description="filter the softmax of the scores, not the scores")
    crf: CRF
    crf_hardness: NonNegative
    crf_iterations: Iterations
    crf_compat: NonNegative
    edge_iterations: IterationsOrNone = Field(description="how often the filter on colours is applied at the end")
    gated: bool = Field(description="leave as they are pixels whose class is certain")
    image_filter: Annotated[GuidedFilterOptions | MattingOptions | None, Field(discriminator="type")]
    dense_crf: DenseCRFOptions | None


class Model(ScoreRefinementOptions):
    """DeepLab-LargeFOV; see `segaware.models.DeepLabLargeFOV`."""

    trunk: Trunk
    width: Width
    batch_norm: bool
    dropout: BelowOne
    fc_width: Channels = Field(description="channels of fc6 and fc7, times width")
    fc6_dilation: Dilation
    segaware_layers: SegAwareLayers
    hardness: NonNegative
    normalize: Normalize = Field(description="how masks of segmentation-aware convolutions are normalised")


class ScoreRefinementV2Options(ScoreRefinementOptions):
    """What sharpens scores, with the release's choices too."""

    crf_metric: Metric
    crf_first: bool = Field(description="the CRF before the filter, as released")


class ModelV2(ScoreRefinementV2Options):
    """DeepLabV2; see `segaware.models.DeepLabV2`."""

    width: Width
    segaware_layers: SegAwareV2Layers
    hardness: NonNegative
    normalize: Normalize = Field(description="how masks of segmentation-aware convolutions are normalised")
    stride_in: StrideIn = Field(description="1x1 for weights of Caffe, 3x3 for those of torchvision")
    batch_norm: BatchNorm


class WindowPairs(Section):
    """Pairs in windows; see `segaware.nn.PairLoss`."""

    type: Literal["windows"]
    weight: NonNegative
    alpha: NonNegative
    beta: Positive
    dilations: Annotated[tuple[Dilation, ...], Field(min_length=1, max_length=64)]
    average: Average
    hinge: Hinge


class OffsetPairs(Section):
    """Pairs at random offsets; see `segaware.nn.OffsetPairLoss`."""

    type: Literal["offsets"]
    weight: NonNegative
    alpha: NonNegative
    beta: Positive
    radius: Radius
    count: Offsets


class Teacher(Section):
    """A trained embedding network whose distances are learned too; see `segaware.nn.MaskLoss`."""

    network: str = Field(description="name of a network that comes with segaware, or a .safetensors file")
    weight: NonNegative
    radius: Radius
    count: Offsets
    images: Count = Field(description="images of a batch that the teacher embeds")


class Masks(Section):
    """Spoiled masks that a filter of hardness 1 puts right; see `segaware.training.Sharpening`."""

    weight: NonNegative
    kernel_size: KernelSize
    iterations: Iterations
    count: Count = Field(description="masks of an image")
    crop: Side = Field(description="side of the square that is filtered")


class EmbeddingStart(Section):
    """Where the weights of an embedding stage come from."""

    vgg: str | None = Field(
        description="file of ImageNet VGG weights: a path, also one below the data root, or hub:REPOSITORY/FILE"
    )


class PrunedStart(EmbeddingStart):
    """Where the weights of an embedding stage come from, which may be those of a larger network."""

    pruned: str | None = Field(
        description="vgg or a file of an `EmbeddingNet`, from which a fast network is pruned, see "
        "`segaware.nn.prune_embedding`, or which gives its weights to one of its size"
    )


class SegmentationStart(Start, EmbeddingStart):
    """Where the weights of a segmentation stage come from."""


class MultiscaleStart(Start):
    """Where the weights of a DeepLabV2 come from."""

    resnet: str | None = Field(description="file of ImageNet weights of ResNet-101, as vgg is for other stages")


class Evaluation(SampleEvaluation):
    """What is scored of segmentation."""

    half_widths: Annotated[tuple[Side, ...], AfterValidator(increasing)] = Field(
        description="half-widths of the trimap bands in pixels"
    )
    precision: Precision = Field(description="of the scores that are cached, see train_on")


class EmbeddingRecipe(Recipe):
    """Train an embedding network with its own loss."""

    stage: Literal["embedding"]
    data: EmbeddingData
    embedding: Annotated[LearnedEmbeddingOptions, Field(discriminator="type")]
    loss: Annotated[WindowPairs | OffsetPairs, Field(discriminator="type")]
    teacher: Teacher | None
    masks: Masks | None
    start: PrunedStart
    train: Train
    evaluation: Evaluation


class AnySegmentationRecipe(Recipe):
    """Train what gives class scores."""

    published: Number | None = Field(description="mean IoU in the paper, in percent; null where it has none")
    data: Data
    model: ScoreRefinementOptions
    loss_at: LossAt = Field(description="where scores are compared with labels; see `SegmentationStage`")
    train_on: Literal["images", "cached_features", "cached_scores"] = Field(
        description="cached_scores trains filter, CRF and embedding alone, on scores of the network it starts from, "
        "which are computed once per image; cached_features trains what follows the trunk of a DeepLab-LargeFOV"
    )
    start: Start
    train: Train | None
    evaluation: Evaluation


class SegmentationRecipe(AnySegmentationRecipe):
    """Train a DeepLab-LargeFOV."""

    stage: Literal["segmentation"]
    model: Model
    start: SegmentationStart


def _given(name: str) -> str:
    return dataset(name, "predictions" if name in dataset_names("predictions") else "segmentation").name


class SharpeningData(Data):
    """Labelled images, or predictions of real networks with these."""

    name: Annotated[str, AfterValidator(_given)]


class SharpeningRecipe(AnySegmentationRecipe):
    """Train a sharpening of scores that are given."""

    stage: Literal["sharpening"]
    data: SharpeningData
    scores: GivenScores = Field(
        description="blurred: made from labels, see `segaware.data.coarse_scores`; predicted: those of the data set"
    )
    start: SegmentationStart


class MultiscaleRecipe(AnySegmentationRecipe):
    """Train a DeepLabV2, with losses on the scores of every scale; see `segaware.training.MultiscaleStage`."""

    stage: Literal["multiscale"]
    model: ModelV2
    loss_at: Literal["scores"]
    start: MultiscaleStart
