"""Training on devices that are not here: on PyTorch's meta device, which has shapes alone, and takes no other tensors.

Whatever stays on the CPU, as noise that is drawn there, is an error, as it would be on a GPU; numbers in double
precision are made one, as Apple's MPS has none.
"""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segaware.data import Sample
from segaware.experiments.build import build_network, build_stage
from segaware.recipes.files import load_recipe

META = torch.device("meta")
LABEL = torch.arange(2 * 33 * 33).reshape(2, 33, 33) // 300 % 3


class NoDouble(TorchDispatchMode):
    """Refuse double precision on the meta device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device == META and tensor.dtype == torch.float64:
                raise TypeError(f"{func} gave float64")
        return result


def trains(recipe: str, *overrides: str) -> None:
    stage = build_stage(values := load_recipe(recipe, overrides), build_network(values).to(META)).to(META)
    sample = Sample(torch.rand(2, 3, 33, 33).to(META), LABEL.to(META), ["a", "b"])
    with NoDouble():
        loss = stage.loss(sample)
        loss.backward()
    assert loss.device == META
    assert any(parameter.grad is not None for parameter in stage.parameters())


@pytest.mark.parametrize("name", ["baseline", "control", "embedding", "filter_color", "segaware"])
def test_the_demo_trains_elsewhere(name: str) -> None:
    trains(f"demo/{name}")


@pytest.mark.parametrize("name", ["filter", "color"])  # autocast, which a CRF leaves, does not know the meta device
def test_sharpening_trains_elsewhere(name: str) -> None:
    trains(f"harley2017/sharpening/{name}")


def test_the_check_is_one() -> None:
    with NoDouble(), pytest.raises(TypeError, match="float64"):
        torch.zeros(1, device=META).double()
    with pytest.raises(RuntimeError, match="device"):
        torch.zeros(2, device=META) + torch.zeros(2)
