"""What all recipes say, and tables. Every value is in their YAML files, or in those these build on: no default."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from segaware.choices import (
    Precision,
)
from segaware.data.registry import dataset
from segaware.recipes.bounds import (
    BatchSize,
    BelowOne,
    Channels,
    Count,
    Fraction,
    GradientNorm,
    LearningRate,
    NonNegative,
    Number,
    Power,
    Run,
    SceneCount,
    Seed,
    Side,
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
        >>> from pydantic import TypeAdapter
        >>> TypeAdapter(Annotated[str, dataset_of("flow")]).validate_python("middlebury")
        'middlebury'
    """
    return AfterValidator(lambda name: dataset(name, task).name)


class SampleData(Section):
    """What all recipes say of their data."""

    name: str
    length: SceneCount | None = Field(description="how many samples to make; data sets on disk have their own number")
    crop: tuple[Side, Side] = Field(description="height and width of training crops")
    batch_size: BatchSize
    workers: Workers


class FastEmbeddingOptions(Section):
    """An embedding network for everyday use; see `segaware.nn.FastEmbeddingNet`."""

    type: Literal["fast"]
    width: Width
    dim: Channels


class VGGEmbeddingOptions(Section):
    """The paper's embedding network; see `segaware.nn.EmbeddingNet`."""

    type: Literal["vgg"]
    width: Width
    dim: Channels
    color: bool = Field(description="whether colours stand beside what is learned")


class ColorEmbeddingOptions(Section):
    """Colours, as the classic bilateral filter compares them; see `segaware.nn.ColorEmbedding`."""

    type: Literal["color"]


class LabelEmbeddingOptions(Section):
    """The labels themselves: true masks, which show the most that masks can do. No network can be used with them."""

    type: Literal["labels"]


LearnedEmbeddingOptions: TypeAlias = FastEmbeddingOptions | VGGEmbeddingOptions
EmbeddingOptions: TypeAlias = LearnedEmbeddingOptions | ColorEmbeddingOptions | LabelEmbeddingOptions


class Start(Section):
    """Where the weights of a network that predicts come from."""

    model: Run | None = Field(description="recipe whose trained network to start from")
    embedding: Run | None = Field(
        description="recipe whose trained embedding network to start from; or segaware, for the one of its type that "
        "comes with it"
    )


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


class Recipe(Section):
    """What all recipes say; those of a task say more."""

    stage: str = Field(description="the task, by the name under which it is registered")
    title: str
    seed: Seed
    data: SampleData
    embedding: Annotated[EmbeddingOptions | None, Field(discriminator="type")]
    start: Section
    train: Train | None = Field(description="null trains nothing: the network is what it starts from")
    evaluation: SampleEvaluation


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
