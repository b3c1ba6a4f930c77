import numpy as np
import pytest
import torch

from segaware.labels import check_not_binary

MASK = np.zeros((4, 5), np.int64)
MASK[1:3, 2:4] = 255


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">i4", "int64"])
@pytest.mark.parametrize("wrap", [np.asarray, lambda mask: mask[::-1, ::-1], lambda mask: mask.tolist()])
def test_a_mask_of_0_and_255_is_refused_with_the_spellings_that_work(dtype, wrap):
    with pytest.raises(ValueError, match=r"^mask must not hold .* 0 and 255 alone.* 0 for ground and 1 for the object"):
        check_not_binary("mask", wrap(MASK.astype(dtype)))


def test_a_tensor_is_refused_too():
    with pytest.raises(ValueError, match="0 and 255 alone"):
        check_not_binary("mask", torch.from_numpy(MASK))


@pytest.mark.parametrize(
    "label",
    [
        MASK // 255,
        np.where(np.arange(5) == 0, 1, MASK),
        np.where(np.arange(5) == 0, 254, MASK),
        np.zeros((4, 5), np.uint8),
        np.full((4, 5), 255, np.uint8),
        np.zeros((0, 5), np.uint8),
        MASK > 0,
    ],
)
def test_other_maps_pass(label):
    check_not_binary("mask", label)
