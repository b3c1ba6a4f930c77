"""Predicting labels of many images, for actors."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from segaware.cluster.job import Failure, Files, reason_of
from segaware.devices import default_device
from segaware.experiments.run import load_network
from segaware.experiments.tasks.segmentation.prediction import predict_image
from segaware.recipes.schema import Recipe


class PredictJob:
    """Writes the label map of an image and, if a file is given for it, a picture.

    Args:
        name: Name of the recipe.
        recipe: The recipe.
        weights: Its weights.
    """

    def __init__(self, name: str, recipe: Recipe, weights: Path) -> None:
        self._name, self._recipe, self._weights = name, recipe, weights
        self._network: nn.Module | None = None

    def open(self) -> None:
        """Load the network, on the GPU if the actor has one."""
        network, _ = load_network(self._name, self._recipe, self._weights)
        self._network = network.to(default_device())

    def __call__(self, files: Files) -> Failure | None:
        """Predict the image of the first file into the others, and return why that failed."""
        assert self._network is not None
        try:
            for out in files[1:]:
                out.parent.mkdir(parents=True, exist_ok=True)
            predict_image(self._recipe, self._network, *files)
        except Exception as error:  # of whatever kind: the next image may be all right
            return Failure(reason_of(error))
        return None
