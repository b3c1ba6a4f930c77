"""What recipes and tables say. Every value is in their YAML files, or in those they build on: none has a default."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

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


class SampleData(Section):
    """What all recipes say of their data."""

    name: str
    length: SceneCount | None = Field(description="how many samples to make; data sets on disk have their own number")
    crop: tuple[Side, Side] = Field(description="height and width of training crops")
    batch_size: BatchSize
    workers: Workers


class Data(SampleData):
    """Labelled images and how they are varied in training."""

    name: SegmentationDataset
    scale: Range = Field(description="range of random scales")
    flip: Fraction = Field(description="probability of mirroring")
    jitter: Fraction = Field(description="strength of random brightness, contrast and saturation")


class EmbeddingOptions(Section):
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


class ScoreRefinementOptions(Section):
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


class Model(ScoreRefinementOptions):
    """DeepLab-LargeFOV; see `segaware.models.DeepLabLargeFOV`."""

    trunk: Trunk
    width: Width
    batch_norm: bool
    dropout: BelowOne
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


class Start(Section):
    """Where the weights of a network that predicts come from."""

    model: Run | None = Field(description="recipe whose trained network to start from")
    embedding: Run | None = Field(
        description="recipe whose trained embedding network to start from; or segaware, for the one that comes with it"
    )


class SegmentationStart(Start, EmbeddingStart):
    """Where the weights of a segmentation stage come from."""


class MultiscaleStart(Start):
    """Where the weights of a DeepLabV2 come from."""

    resnet: str | None = Field(description="file of ImageNet weights of ResNet-101, as vgg is for other stages")


class SGD(Section):
    """Stochastic gradient descent; see `torch.optim.SGD`."""

    type: Literal["sgd"]
    momentum: BelowOne


class AdamW(Section):
    """Adam with decoupled weight decay; see `torch.optim.AdamW`."""

    type: Literal["adamw"]


class PolynomialSchedule(Section):
    """The learning rate falls as (1 - step / steps) ** power; a power of 0 keeps it."""

    type: Literal["polynomial"]
    power: Power


class StepSchedule(Section):
    """The learning rate is multiplied by a factor after every so many steps."""

    type: Literal["step"]
    every: Count
    factor: Fraction


class MilestoneSchedule(Section):
    """The learning rate is multiplied by a factor at each of these steps."""

    type: Literal["milestones"]
    at: Annotated[tuple[Count, ...], AfterValidator(increasing)]
    factor: Fraction


class Train(Section):
    """Optimisation; see `segaware.training.Optimization`."""

    epochs: Count
    steps: Count | None = Field(description="end after so many steps, if the epochs do not end before")
    optimizer: Annotated[SGD | AdamW, Field(discriminator="type")]
    learning_rate: LearningRate
    schedule: Annotated[PolynomialSchedule | StepSchedule | MilestoneSchedule, Field(discriminator="type")] = Field(
        description="learning rate schedule, per step"
    )
    weight_decay: WeightDecay
    head_multiplier: NonNegative = Field(description="factor on the rate of the layers that score; 0 freezes them")
    embedding_multiplier: NonNegative = Field(description="factor on the rate of an embedding network inside a network")
    hardness_multiplier: NonNegative = Field(
        description="factor on the rate of hardness and of all that filter and CRF at the end of a network learn"
    )
    frozen: tuple[str, ...] = Field(description="submodules and parameters that are not trained, by their dotted names")
    gradient_clip: GradientNorm | None
    precision: Precision


class SampleEvaluation(Section):
    """How much is scored."""

    validation_images: Count = Field(description="samples scored after every epoch")
    images: Count | None = Field(description="samples scored in the end; null is all of them")


class Evaluation(SampleEvaluation):
    """What is scored of segmentation."""

    half_widths: Annotated[tuple[Side, ...], AfterValidator(increasing)] = Field(
        description="half-widths of the trimap bands in pixels"
    )
    precision: Precision = Field(description="of the scores that are cached, see train_on")


class Recipe(Section):
    """What all recipes say; those of a task say more."""

    stage: str = Field(description="the task, by the name under which it is registered")
    title: str
    seed: Seed
    data: SampleData
    embedding: EmbeddingOptions | None
    start: Section
    train: Train | None = Field(description="null trains nothing: the network is what it starts from")
    evaluation: SampleEvaluation


class EmbeddingRecipe(Recipe):
    """Train an embedding network with its own loss."""

    stage: Literal["embedding"]
    data: Data
    embedding: EmbeddingOptions
    loss: Loss
    start: EmbeddingStart
    train: Train
    evaluation: Evaluation


class AnySegmentationRecipe(Recipe):
    """Train what gives class scores."""

    published: Number | None = Field(description="mean IoU in the paper, in percent; null where it has none")
    data: Data
    model: ScoreRefinementOptions
    loss_at: LossAt = Field(description="where scores are compared with labels; see `SegmentationStage`")
    train_on: Literal["images", "cached_scores"] = Field(
        description="cached_scores trains filter, CRF and embedding alone, on scores of the network it starts from, "
        "which are computed once per image; see `segaware.experiments.cached`"
    )
    start: Start
    train: Train | None
    evaluation: Evaluation


class SegmentationRecipe(AnySegmentationRecipe):
    """Train a DeepLab-LargeFOV."""

    stage: Literal["segmentation"]
    model: Model
    start: SegmentationStart


class SharpeningRecipe(AnySegmentationRecipe):
    """Train a sharpening of scores that are made from labels; see `segaware.data.coarse_scores`."""

    stage: Literal["sharpening"]
    start: SegmentationStart


class MultiscaleRecipe(AnySegmentationRecipe):
    """Train a DeepLabV2, with losses on the scores of every scale; see `segaware.training.MultiscaleStage`."""

    stage: Literal["multiscale"]
    model: ModelV2
    loss_at: Literal["scores"]
    start: MultiscaleStart


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


STAGES: dict[str, type[Recipe]] = {
    "embedding": EmbeddingRecipe,
    "segmentation": SegmentationRecipe,
    "multiscale": MultiscaleRecipe,
    "sharpening": SharpeningRecipe,
    "flow": FlowRecipe,
}


def register_stage(stage: str, recipe_type: type[Recipe]) -> None:
    """Make known what recipes of a stage say.

    Raises:
        ValueError: If the stage is taken.
    """
    if stage in STAGES:
        raise ValueError(f"stage must be a new one, got {stage!r}; there are {', '.join(STAGES)}")
    STAGES[stage] = recipe_type


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
