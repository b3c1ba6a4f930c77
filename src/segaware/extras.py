"""Packages that only some parts of segaware need."""

from importlib import import_module
from types import ModuleType

# What each extra of pyproject.toml brings, as `segaware doctor` says it.
EXTRAS = {
    "train": "the command line, training, data sets, metrics and pictures",
    "flow": "variational refinement of optical flow, KITTI's 16-bit PNG files, videos",
    "export": "ONNX files, and running them to check them",
    "ray": "refining photographs on a cluster",
    "triton": "kernels for NVIDIA GPUs; PyTorch's CUDA builds bring the Triton that fits them",
    "bench": "what the benchmark compares with",
    "docs": "the site",
    "dev": "tests, checks and releases",
}


def import_extra(module: str, need: str, extra: str) -> ModuleType:
    """Import a package when it is needed.

    Args:
        module: What to import, such as "cv2".
        need: What needs which package, the beginning of the error's message.
        extra: The extra of segaware that brings it.

    Raises:
        ModuleNotFoundError: If it is not installed; the message says how to install it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{need}: pip install 'segaware[{extra}]'", name=module) from error
