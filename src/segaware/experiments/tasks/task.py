"""What tells one task from another: all that the rest of the package asks of segmentation and of optical flow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, Literal, NoReturn, TypeVar

from torch import Tensor, nn
from torch.utils.data import Dataset

from segaware.devices import default_device
from segaware.experiments.tasks.panels import Panels
from segaware.experiments.tasks.scores import ImageScores, Predictor
from segaware.recipes.files import RecipeError
from segaware.recipes.schema import Recipe
from segaware.training import Stage

RecipeT = TypeVar("RecipeT", bound=Recipe)
ScoresT = TypeVar("ScoresT", bound=ImageScores)
Cells = tuple[list[str], list[list[str]]]
"""Header and rows of a table."""


class Task(ABC, Generic[RecipeT, ScoresT]):
    """One kind of recipe: its network, data and training; how it is scored, and how scores are shown.

    A subclass is registered under the stage that its recipes name, with `register_task`. What trains but predicts
    nothing to score, as embeddings do, implements the first three methods alone.

    Attributes:
        name: Of the kind of prediction: a table compares recipes whose tasks have the same name.
        recipe_type: What a recipe of this task says, a subclass of `segaware.recipes.schema.Recipe`.
        scores_type: What is counted on every image; None if nothing is.
        images: How many images the network is called with, RGB (N, 3, H, W) in 0..1; 0 if it needs other inputs too.
        by_seed: What a table over seeds keeps of every seed's row; empty if `row` takes the scores of one seed alone.
    """

    name: str
    recipe_type: type[RecipeT]
    scores_type: type[ScoresT] | None = None
    images: int = 1
    by_seed: tuple[str, ...] = ()

    @abstractmethod
    def network(self, recipe: RecipeT) -> nn.Module:
        """Return the untrained network of a recipe.

        Args:
            recipe: The recipe.

        Raises:
            ValueError: If options do not fit together.
        """

    @abstractmethod
    def samples(self, recipe: RecipeT, split: Literal["train", "val"], data_root: Path | None) -> Dataset[Any]:
        """Return a recipe's samples: varied at random for training, as they are for validation.

        A sample is a named tuple that begins with an image (3, H, W) and has a `name`.

        Args:
            recipe: The recipe.
            split: Which samples.
            data_root: Folder that holds the data sets.

        Raises:
            RecipeError: If values of the recipe do not fit the data set.
            DataError: If files are missing.
        """

    @abstractmethod
    def stage(self, recipe: RecipeT, network: nn.Module) -> Stage:
        """Return the training stage of a recipe that trains something, around its network."""

    def check_untrained(self, recipe: RecipeT) -> None:
        """Raise RecipeError if a recipe that trains nothing would leave its network without trained weights."""
        if getattr(recipe.start, "model", None) is None:
            raise RecipeError(f"recipe {recipe.title!r} trains nothing (train is null), but has no start.model")

    def training_samples(
        self, recipe: RecipeT, network: nn.Module, training: Dataset[Any], validation: Dataset[Any], cache: Path
    ) -> tuple[Dataset[Any], Dataset[Any]]:
        """Return what batches of training and of validation are made of.

        What is not the training samples themselves is loaded in the process that trains.

        Args:
            recipe: The recipe.
            network: Its network, with the weights that it starts from.
            training: Its samples for training.
            validation: Its samples for validation.
            cache: Folder for what several recipes compute alike.
        """
        return training, validation

    def inputs(self, recipe: RecipeT, sample: Any, index: int) -> tuple[Any, ...]:
        """Return what a trained network is called with, for a batch of one sample.

        Args:
            recipe: The recipe.
            sample: The sample, its parts with a first dimension of 1.
            index: Its index in the validation split, the seed of what is random in its inputs.
        """
        self._unscored()

    def prediction(self, output: Tensor) -> Tensor:
        """Return the prediction that an output of the network stands for, such as the class with the largest score."""
        return output

    def predictor(self, recipe: RecipeT, network: nn.Module, cache: Path | None) -> Predictor:
        """Return what predicts a sample; with a folder to keep what several recipes share, it may do so."""
        device = default_device()
        network = network.to(device).eval()

        def prepare(sample: Any, index: int) -> Any:
            inputs = self.inputs(recipe, sample, index)
            return lambda: self.prediction(network(*(x.to(device) if isinstance(x, Tensor) else x for x in inputs)))

        return prepare

    def count(self, recipe: RecipeT, prediction: Tensor, sample: Any) -> dict[str, Tensor]:
        """Return what is counted on a sample, by attribute of `scores_type`."""
        self._unscored()

    def constants(self, recipe: RecipeT) -> dict[str, Any]:
        """Return the other attributes of `scores_type`, which the recipe says."""
        return {}

    def also(self, recipe: RecipeT) -> tuple[str, ...]:
        """Return the names of other data sets on which a table scores the recipe, if they are there."""
        return ()

    def summary(self, scores: ScoresT) -> tuple[dict[str, Any], list[str], list[str]]:
        """Return the scores of one recipe as JSON-like values, and header and cells of a table."""
        self._unscored()

    def table(self, recipe: RecipeT, scores: dict[str | None, ScoresT]) -> dict[str, Any]:
        """Return what the JSON of a table says beside its rows.

        Args:
            recipe: The control.
            scores: Its scores: under None those on its own data set, and those on each other one by name.
        """
        return {}

    def row(
        self, recipe: RecipeT, scores: Sequence[ScoresT], controls: Sequence[ScoresT], also: dict[str, ScoresT]
    ) -> dict[str, Any]:
        """Return what the JSON of a table says in a row.

        Args:
            recipe: The recipe.
            scores: Its scores, one for every seed.
            controls: Those of the control with the same seeds.
            also: Its scores on other data sets.
        """
        self._unscored()

    def cells(self, table: dict[str, Any], intervals: bool = True) -> Cells:
        """Return header and rows of a table for people, from its JSON."""
        self._unscored()

    def draw(self, table: dict[str, Any], path: Path) -> None:
        """Draw the figure of a table into a PNG file, if it has one."""

    def gains(self, first: ScoresT, second: ScoresT) -> Tensor:
        """Return by how much the second predicts every image (N,) better than the first."""
        self._unscored()

    def panels(
        self,
        sample: Any,
        index: int,
        recipes: Sequence[RecipeT],
        networks: Sequence[nn.Module],
        caption: str,
        reduce: int,
    ) -> Panels:
        """Draw what two trained networks predict for a sample, and their errors.

        Args:
            sample: The sample.
            index: Its index in the validation split.
            recipes: The two recipes.
            networks: Their networks, on the CPU.
            caption: What to say of the second's errors.
            reduce: Show every so many-th pixel.
        """
        self._unscored()

    def _unscored(self) -> NoReturn:
        raise RecipeError(f"the task of {self.name} predicts nothing that is scored or drawn")
