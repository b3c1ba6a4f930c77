"""Names that the docstring examples use without importing them, as a reader would have them already."""

import pytest
import torch

import segaware


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, object]) -> None:
    torch.manual_seed(0)
    doctest_namespace |= {"torch": torch, **{name: getattr(segaware, name) for name in segaware.__all__}}
