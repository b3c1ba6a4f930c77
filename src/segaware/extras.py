"""Packages that only some parts of segaware need."""

from importlib import import_module
from types import ModuleType


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
