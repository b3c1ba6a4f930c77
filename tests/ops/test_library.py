"""What stands in traced graphs and exported programs: the operators of `torch.ops.segaware`."""

import pytest
import torch

import segaware.ops  # noqa: F401 - registers them

WINDOW = [3, 3, 1, 1, 1, 1, 1, 1, 1, 1]
SCHEMAS = [
    "conv2d(Tensor input, Tensor weight, Tensor mask, Tensor? bias, SymInt[] window, SymInt groups, str normalize, "
    "str backend) -> Tensor",
    "conv2d_backward(Tensor grad, Tensor input, Tensor weight, Tensor mask, SymInt[] window, SymInt groups, "
    "str normalize, str backend, bool[] needed) -> (Tensor, Tensor, Tensor, Tensor)",
    "embedding_distance(Tensor embedding, SymInt[] window, str metric, str backend) -> Tensor",
    "embedding_distance_backward(Tensor grad, Tensor embedding, Tensor distance, SymInt[] window, str metric, "
    "str backend) -> Tensor",
    "filter2d(Tensor input, Tensor mask, SymInt[] window, str border, str backend) -> (Tensor, Tensor)",
    "filter2d_backward(Tensor grad, Tensor input, Tensor mask, Tensor output, Tensor total, SymInt[] window, "
    "str border, str backend, bool[] needed) -> (Tensor, Tensor)",
    "median2d(Tensor input, Tensor mask, SymInt[] window, float center_weight, str backend) -> (Tensor, Tensor)",
    "median2d_backward(Tensor grad, Tensor tap, SymInt[] window, str backend) -> Tensor",
    "upsample(Tensor input, Tensor embedding, Tensor coarse_embedding, Tensor hardness, Tensor rows, Tensor columns, "
    "SymInt radius, str backend) -> Tensor",
    "upsample_backward(Tensor grad, Tensor input, Tensor embedding, Tensor coarse_embedding, Tensor hardness, "
    "Tensor rows, Tensor columns, Tensor output, SymInt radius, str backend, bool[] needed) -> "
    "(Tensor, Tensor, Tensor, Tensor)",
    'neighbour_mask_(Tensor(a0!) distance, Tensor hardness, Tensor rows, Tensor columns, str backend="numba") -> ()',
    "attention_mask(Tensor distance, Tensor hardness, str backend) -> Tensor",
    "attention_mask_backward(Tensor grad, Tensor distance, Tensor hardness, str backend) -> (Tensor, Tensor)",
    "permutohedral_mean_field(Tensor log_probabilities, Tensor[] features, float[] weights, SymInt iterations) "
    "-> Tensor",
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.partition("(")[0])
def test_annotations_are_the_schema(schema: str) -> None:
    """Programs that have been exported name these."""
    operator = getattr(torch.ops.segaware, schema.partition("(")[0]).default
    assert str(operator._schema) == f"segaware::{schema}"


def test_a_fake_takes_what_it_needs_by_position_or_by_name() -> None:
    image = torch.empty(2, 3, 5, 6, device="meta")
    distance = torch.ops.segaware.embedding_distance
    for result in (
        distance(image, WINDOW, "l1", "numba"),
        distance(image, WINDOW, metric="l1", backend="numba"),
        distance(backend="numba", window=WINDOW, embedding=image, metric="l1"),
    ):
        assert result.is_meta and result.shape == (2, 9, 5, 6)
