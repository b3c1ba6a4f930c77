"""What the tests of the Triton kernels share: a device for them, and comparison with the reference."""

from collections.abc import Callable, Iterator

import pytest
import torch

from segaware.ops._backends import check_backend

from .comparison import DEVICE

collect_ignore = ["compile_kernels.py"]  # a program


@pytest.fixture(scope="session", autouse=True)
def _kernels_can_run() -> None:
    check_backend("triton", DEVICE)


@pytest.fixture(autouse=True)
def _strict(uninitialised_is_nan: None) -> Iterator[None]:
    """What is not written is NaN, nothing that depends on the order of threads is allowed, and float32 is float32."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = allowed


@pytest.fixture
def wide_offsets(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function after which kernels take offsets of 64 bits, as for tensors of 2^31 numbers."""
    import triton.language as tl

    from segaware.ops import _launch
    from segaware.ops.convolution._triton import masks, narrow
    from segaware.ops.distance import _triton as distance
    from segaware.ops.filtering import _triton as filtering
    from segaware.ops.masking import _triton as masking
    from segaware.ops.neighbour_mask import _triton as neighbour_mask
    from segaware.ops.upsampling import _triton as upsampling

    def widen() -> None:
        for module in (_launch, masks, narrow, distance, filtering, masking, neighbour_mask, upsampling):
            monkeypatch.setattr(module, "index_type", lambda *sizes: tl.int64)

    return widen
