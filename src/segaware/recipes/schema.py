"""What recipes and tables say. Every value is in their YAML files, or in those they build on: none has a default."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from segaware.choices import (
    CRF,
    Average,
    BatchNorm,
    Hinge,
    LossAt,
    Precision,
    SegAwareLayers,
    SegAwareV2Layers,
    StrideIn,
    Trunk,
)
from segaware.data.registry import dataset
from segaware.ops.convolution.reference import Normalize
from segaware.ops.distance.reference import Metric
from segaware.recipes.bounds import (
    NUMBER,
    BatchSize,
    BelowOne,
    Channels,
    Count,
    Degrees,
    Dilation,
    Fraction,
    GradientNorm,
    Iterations,
    KernelSize,
    LearningRate,
    NonNegative,
    Number,
    Positive,
    Power,
    Range,
    Run,
    SceneCount,
    Seed,
    Side,
    Stride,
    WeightDecay,
    Width,
    Workers,
    increasing,
)


class Section(BaseModel):
    """A group of values; an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def dataset_of(task: str) -> AfterValidator:
    """Return a check, for the annotation of a key, that a name is that of a data set for a task.

    Example:
        >>> TypeAdapter(Annotated[str, dataset_of("flow")]).validate_python("middlebury")
        'middlebury'
    """
    return AfterValidator(lambda name: dataset(name, task).name)


SegmentationDataset = Annotated[str, dataset_of("segmentation")]
FlowDataset = Annotated[str, dataset_of("flow")]


class Data(Section):
    """The images and how they are varied in training."""

    name: SegmentationDataset
    length: SceneCount | None = Field(description="how many scenes to make; data sets on disk have their own number")
    crop: tuple[Side, Side] = Field(description="height and width of training crops")
    scale: Range = Field(description="range of random scales")
    flip: Fraction = Field(description="probability of mirroring")
    jitter: Fraction = Field(description="strength of random brightness, contrast and saturation")
    batch_size: BatchSize
    workers: Workers


class Embedding(Section):
    """The embedding network."""

    kind: Literal["learned", "color"] = Field(description="color is the classic bilateral filter's, for comparison")
    width: Width
    dim: Channels


class DenseCRFOptions(Section):
    """A fully connected CRF; see `segaware.nn.DenseCRF`."""

    gaussian_sxy: Positive
    gaussian_compat: NonNegative
    bilateral_sxy: Positive
    bilateral_srgb: Positive
    bilateral_compat: NonNegative
    iterations: Iterations


class Refinement(Section):
    """What sharpens scores; see `segaware.models.ScoreRefinement`."""

    filter_kernel_size: KernelSize
    filter_iterations: Iterations
    filter_hardness: NonNegative
    filter_stride: Stride
    crf: CRF
    crf_hardness: NonNegative
    crf_iterations: Iterations
    crf_compat: NonNegative
    dense_crf: DenseCRFOptions | None


class Model(Refinement):
    """DeepLab-LargeFOV; see `segaware.models.DeepLabLargeFOV`."""

    trunk: Trunk
    width: Width
    batch_norm: bool
    dropout: BelowOne
    fc6_dilation: Dilation
    segaware: SegAwareLayers
    hardness: NonNegative
    normalize: Normalize = Field(description="how masks of segmentation-aware convolutions are normalised")


class RefinementV2(Refinement):
    """What sharpens scores, with the release's choices too."""

    crf_metric: Metric
    crf_first: bool = Field(description="the CRF before the filter, as released")


class ModelV2(RefinementV2):
    """DeepLabV2; see `segaware.models.DeepLabV2`."""

    width: Width
    segaware: SegAwareV2Layers
    hardness: NonNegative
    normalize: Normalize = Field(description="how masks of segmentation-aware convolutions are normalised")
    stride_in: StrideIn = Field(description="1x1 for weights of Caffe, 3x3 for those of torchvision")
    batch_norm: BatchNorm


class Loss(Section):
    """The pair loss; see `segaware.nn.PairLoss`."""

    alpha: NonNegative
    beta: Positive
    dilations: Annotated[tuple[Dilation, ...], Field(min_length=1, max_length=64)]
    average: Average
    hinge: Hinge


class EmbeddingStart(Section):
    """Where the weights of an embedding stage come from."""

    vgg: str | None = Field(
        description="file of ImageNet VGG weights: a path, also one below the data root, or hub:REPOSITORY/FILE"
    )


class FlowStart(Section):
    """Where the weights of a flow stage come from."""

    model: Run | None = Field(description="recipe whose trained network to start from")
    embedding: Run | None = Field(
        description="recipe whose trained embedding network to start from; or segaware, for the one that comes with it"
    )


class SegmentationStart(FlowStart, EmbeddingStart):
    """Where the weights of a segmentation stage come from."""


class MultiscaleStart(FlowStart):
    """Where the weights of a DeepLabV2 come from."""

    resnet: str | None = Field(description="file of ImageNet weights of ResNet-101, as vgg is for other stages")


class Train(Section):
    """Optimisation; see `segaware.training.Optimization`."""

    epochs: Count
    steps: Count | None = Field(description="end after so many steps, if the epochs do not end before")
    optimizer: Literal["sgd", "adam"]
    learning_rate: LearningRate
    momentum: BelowOne
    weight_decay: WeightDecay
    power: Power
    drop_every: Count | None = Field(description="steps after each of which the rate falls to a tenth; no power")
    head_multiplier: NonNegative
    embedding_multiplier: NonNegative
    hardness_multiplier: NonNegative
    frozen: tuple[str, ...] = Field(description="layers that are not trained: their names begin so")
    gradient_clip: GradientNorm | None
    precision: Precision


class Evaluation(Section):
    """What is scored."""

    validation_images: Count = Field(description="images scored after every epoch")
    images: Count | None = Field(description="images scored in the end; null is all of them")
    half_widths: Annotated[tuple[Side, ...], AfterValidator(increasing)] = Field(
        description="half-widths of the trimap bands in pixels"
    )
    precision: Precision = Field(description="of the scores that are cached, see train_on")


class EmbeddingRecipe(Section):
    """Train an embedding network with its own loss."""

    stage: Literal["embedding"]
    title: str
    seed: Seed
    data: Data
    embedding: Embedding
    loss: Loss
    start: EmbeddingStart
    train: Train
    evaluation: Evaluation


class SegmentationRecipe(Section):
    """Train a segmentation network."""

    stage: Literal["segmentation"]
    title: str
    published: Number | None = Field(description="mean IoU in the paper, in percent; null where it has none")
    seed: Seed
    data: Data
    embedding: Embedding | None
    model: Model
    loss_at: LossAt = Field(description="where scores are compared with labels; see `SegmentationStage`")
    train_on: Literal["images", "cached_scores"] = Field(
        description="cached_scores trains filter, CRF and embedding alone, on scores of the network it starts from, "
        "which are computed once per image; see `segaware.experiments.cached`"
    )
    start: SegmentationStart
    train: Train | None = Field(description="null trains nothing: the network is what it starts from")
    evaluation: Evaluation


class SharpeningRecipe(SegmentationRecipe):
    """Train a sharpening of scores that are made from labels; see `segaware.data.coarse_scores`."""

    stage: Literal["sharpening"]  # type: ignore[assignment]
    model: Refinement  # type: ignore[assignment]


class MultiscaleRecipe(SegmentationRecipe):
    """Train a DeepLabV2, with losses on the scores of every scale; see `segaware.training.MultiscaleStage`."""

    stage: Literal["multiscale"]  # type: ignore[assignment]
    model: ModelV2  # type: ignore[assignment]
    loss_at: Literal["scores"]
    start: MultiscaleStart  # type: ignore[assignment]


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


class FlowData(Section):
    """The pairs of images and how they are varied in training."""

    name: FlowDataset
    length: SceneCount | None = Field(description="how many pairs to make; data sets on disk have their own number")
    size: tuple[Side, Side] | None = Field(description="height and width of pairs that are made")
    crop: tuple[Side, Side] = Field(description="height and width of training crops")
    flip: tuple[Fraction, Fraction] = Field(description="probabilities of mirroring left and right, top and bottom")
    affine: Affine | None
    color: ColorChange | None
    batch_size: BatchSize
    workers: Workers


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


class FlowTrain(Section):
    """Optimisation with Adam; see `segaware.training.Optimization`."""

    epochs: Count
    steps: Count | None = Field(description="end after so many steps, if the epochs do not end before")
    learning_rate: LearningRate
    weight_decay: WeightDecay
    halve_at: tuple[Count, ...] = Field(description="steps at each of which the rate falls to a half")
    embedding_multiplier: NonNegative
    hardness_multiplier: NonNegative
    frozen: tuple[str, ...] = Field(description="layers that are not trained: their names begin so")
    gradient_clip: GradientNorm | None
    precision: Precision


class FlowEvaluation(Section):
    """What is scored."""

    validation_images: Count = Field(description="pairs scored after every epoch")
    images: Count | None = Field(description="pairs scored in the end; null is all of them")
    distances: Annotated[tuple[Side, ...], AfterValidator(increasing)] = Field(
        description="distances to a motion boundary in pixels"
    )
    also: tuple[FlowDataset, ...] = Field(description="other data sets to score; those that are not there are not")


class FlowRecipe(Section):
    """Train a network that estimates optical flow."""

    stage: Literal["flow"]
    title: str
    published: Number | None = Field(description="mean end-point error in the paper, in pixels; null where it has none")
    published_angle: Number | None = Field(description="mean angular error in the paper, in degrees")
    seed: Seed
    data: FlowData
    embedding: Embedding | None
    model: FlowModel
    start: FlowStart
    train: FlowTrain | None = Field(description="null trains nothing: the network is what it starts from")
    evaluation: FlowEvaluation


Recipe = EmbeddingRecipe | SegmentationRecipe | MultiscaleRecipe | SharpeningRecipe | FlowRecipe
RECIPE: TypeAdapter[Recipe] = TypeAdapter(Annotated[Recipe, Field(discriminator="stage")])


class TableData(Section):
    """Another data set or budget for the rows of a table."""

    about: str
    changes: dict[str, dict[str, Any]] = Field(
        description="by name of a recipe, or a pattern such as *: values laid over the recipe's, in this order"
    )


class Published(Section):
    """Another method's scores as the paper has them."""

    title: str
    error: Number
    angle: Number | None


class Table(Section):
    """Recipes that are compared with one another."""

    title: str
    about: str
    control: str = Field(description="the row all others are compared with: same start, same extra steps, nothing new")
    rows: tuple[str, ...]
    figure: tuple[str, ...] | None = Field(description="rows drawn in the figure; null is all of them")
    published: tuple[Published, ...] = Field(description="lines for comparison that are not measured here")
    data: dict[str, TableData] = Field(description="what `data=` chooses from, the first if not given; may be empty")
