"""Which parameters shipped recipes train, in which groups of the optimizer, and at which learning rates."""

from typing import Any

import pytest
import torch

from segaware.experiments.build import build_network, build_stage
from segaware.recipes.files import load_recipe
from segaware.training import Stage

# Optimizer, its groups (number of tensors, rate at the first step, weight decay), steps, and the factor that the
# schedule has on all rates at some of them.
SHIPPED: list[tuple[str, str | None, str, list[tuple[int, float, float]], int, dict[int, float]]] = [
    ("demo/segaware", None, "SGD", [(60, 0.01, 0.0005), (2, 0.01, 0.0005), (22, 0.01, 0.0005), (2, 0.1, 0.0)],
     160, {1: (159 / 160) ** 0.9, 80: 0.5**0.9, 160: 0.0}),
    ("demo/embedding", None, "AdamW", [(22, 0.003, 0.0)], 400, {200: 0.5**0.9}),
    ("harley2017/table1/coco", "voc", "SGD", [(30, 0.001, 0.0005), (2, 0.01, 0.0005)], 9, {3: (6 / 9) ** 0.9}),
    ("harley2017/table1/embedding", "voc_animals", "AdamW", [(22, 2e-5, 0.0)], 100, {99: 1.0}),
    ("harley2017/table1/fc6", "voc", "SGD",
     [(30, 0.0001, 0.0005), (2, 0.001, 0.0005), (22, 0.0001, 0.0005), (1, 0.0001, 0.0)],
     240_001, {119_999: 1.0, 120_000: 0.1, 240_000: 0.01}),
    ("harley2017/table1/fc6", "voc_animals", "AdamW",
     [(36, 2e-5, 0.0005), (2, 2e-4, 0.0005), (1, 250 * 2e-5, 0.0)], 100, {50: 0.5**0.9}),
    ("harley2017/table2/segaware", "scenes", "AdamW", [(22, 0.001, 0.0005), (7, 0.01, 0.0)], 160, {80: 0.5**0.9}),
    ("harley2017/table3/flownets", "flying_chairs", "AdamW", [(46, 0.0001, 0.0004)],
     600_000, {299_999: 1.0, 300_000: 0.5, 400_000: 0.25, 500_000: 0.125, 600_000: 0.125}),
    ("harley2017/table3/segaware", "flying_voc", "AdamW", [(66, 0.0001, 0.0004), (2, 0.01, 0.0)],
     500, {249: 1.0, 250: 0.5, 375: 0.25}),
]  # fmt: skip


def _stage(name: str, data: str | None) -> Stage:
    recipe = load_recipe(name, data=data)
    with torch.device("meta"):
        return build_stage(recipe, build_network(recipe))


@pytest.mark.parametrize(("name", "data", "kind", "groups", "steps", "factors"), SHIPPED)
def test_groups_and_rates(name: str, data: str | None, kind: str, groups: Any, steps: int, factors: Any) -> None:
    stage = _stage(name, data)
    configured = stage.optimization.configure(stage.network, steps)
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    found = [(len(group["params"]), group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert type(optimizer).__name__ == kind and found == [pytest.approx(group) for group in groups]
    if kind == "SGD":
        assert optimizer.defaults["momentum"] == 0.9
    optimizer.step()  # without gradients, so that the schedule does not warn
    for i in range(1, max(factors) + 1):
        schedule.step()
        if i in factors:
            rates = [group["lr"] for group in optimizer.param_groups]
            assert rates == pytest.approx([rate * factors[i] for _, rate, _ in groups], rel=1e-9), i


FROZEN: list[tuple[str, str | None, tuple[str, ...]]] = [
    ("harley2017/table1/baseline", "voc_animals", ("conv1_", "conv2_", "conv3_")),
    ("harley2017/table1/all_filter_9x9_x1", "voc_animals", ("embedding.",)),
    ("harley2017/table2/segaware", "voc", ("trunk.", "aspp.")),
    ("harley2017/table3/filter", "flying_voc", ("embedding.",)),
    ("harley2017/ablation/filter_tuned", "voc_animals", ("embedding.conv1_", "embedding.conv2_")),
    ("harley2017/ablation/crf", "voc_animals", ("embedding.",)),
    ("harley2017/sharpening/filter", None, ("embedding.conv1_", "embedding.conv2_")),
    ("harley2017/sharpening/color", None, ()),
]


@pytest.mark.parametrize(("name", "data", "starts"), FROZEN)
def test_frozen_parameters(name: str, data: str | None, starts: tuple[str, ...]) -> None:
    parameters = dict(_stage(name, data).network.named_parameters())
    frozen = {key for key, parameter in parameters.items() if not parameter.requires_grad}
    assert frozen == {key for key in parameters if key.startswith(starts)} if starts else not frozen
    assert len(frozen) < len(parameters)
