"""Where experiments are kept: a folder for each recipe, and the folder of the data sets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from segaware.recipes.files import RecipeError
from segaware.recipes.names import CACHE, run_name


@dataclass(frozen=True)
class Workspace:
    """Where trainings are written and read.

    Attributes:
        runs: Folder that holds a folder per recipe.
        data_root: Folder that holds the data sets' folders; None if there is none.
        within: The workspace that this one is `below`, if any.

    Example:
        >>> Workspace(Path("runs")).weights("demo/baseline").as_posix()
        'runs/demo/baseline/model.safetensors'
    """

    runs: Path
    data_root: Path | None = None
    within: Workspace | None = None

    def folder(self, name: str) -> Path:
        """Return the folder that training the recipe `name`, or the recipe file of that path, writes.

        Args:
            name: Name or path.

        Raises:
            RecipeError: If it would not be below `runs`.
        """
        try:
            return self.runs / run_name(name)
        except ValueError as error:
            raise RecipeError(str(error)) from error

    def weights(self, name: str) -> Path:
        """Return where the trained weights of the recipe `name` are."""
        return self.folder(name) / "model.safetensors"

    def scores(self, name: str, dataset: str | None = None) -> Path:
        """Return where the scores of a recipe are kept: on its own data set, or on another one."""
        return self.folder(name) / ("scores.npz" if dataset is None else f"scores_{dataset}.npz")

    @property
    def cache(self) -> Path:
        """Folder of what recipes, seeds and data sets share; see `segaware.experiments.tasks.segmentation.cached`."""
        return self.runs / CACHE if self.within is None else self.within.cache

    def below(self, folder: str | None) -> Workspace:
        """Return the workspace whose runs are in a folder of these; None is this one."""
        return self if folder is None else replace(self, runs=self.runs / folder, within=self)


def is_up_to_date(path: Path, weights: Path) -> bool:
    """Tell whether what was computed from weights is there, and not older than they."""
    return path.is_file() and path.stat().st_mtime >= weights.stat().st_mtime
