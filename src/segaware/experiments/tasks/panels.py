"""What two networks predict for a sample, as pictures with captions."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np

from segaware.viz import Report, side_by_side, stack

Captioned: TypeAlias = tuple[str, np.ndarray]
"""A caption, and a picture, uint8 (H, W, 3)."""


def shrunk(caption: str, picture: np.ndarray, reduce: int) -> Captioned:
    """Return every `reduce`-th pixel of a picture, with its caption."""
    return caption, picture[::reduce, ::reduce]


class Panels(NamedTuple):
    """Pictures of one size.

    Attributes:
        inputs: The image, then the truth.
        predictions: Of the first network and of the second.
        errors: Of the first and of the second, whose caption says what was gained.
        others: Further ones, such as the embedding.
        masks: Below all of these, of another size; None if there are none.
    """

    inputs: list[Captioned]
    predictions: list[Captioned]
    errors: list[Captioned]
    others: list[Captioned]
    masks: np.ndarray | None = None

    def picture(self) -> np.ndarray:
        """Return all in one row, and the masks below it, uint8 (H, W, 3)."""
        row = side_by_side([*self.inputs, *self.predictions, *self.errors, *self.others])
        return row if self.masks is None else stack([row, self.masks])

    def add_to(self, report: Report) -> None:
        """Add a section to a page, with sliders between the two predictions and between their errors."""
        (title, _), (gain, _) = self.inputs[0], self.errors[1]
        report.heading(f"{title}: {gain.removeprefix('errors, ')}")
        for (first, left), (second, right) in (self.predictions, self.errors):
            report.before_after(left, right, f"{first} | {second}")
        report.gallery([*self.inputs, *self.others])
        if self.masks is not None:
            report.picture(self.masks, "Masks of three pixels")
