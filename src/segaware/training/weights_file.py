"""Trained weights as safetensors, with a description of them as JSON in the metadata."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from segaware.atomic import replaced
from segaware.nn.hub import METADATA, Pretrained
from segaware.strict_json import strict_json


def save_weights(path: Path, network: nn.Module, description: dict[str, Any]) -> None:
    """Write the weights of `network` with a JSON description into a .safetensors file, whole or not at all.

    The constructor arguments of a network of segaware are written too.

    Args:
        path: The file to write.
        network: The network.
        description: Values that JSON can hold.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in network.state_dict().items()}
    metadata = {"segaware": strict_json(description)}
    if isinstance(network, Pretrained):
        metadata[METADATA] = network.config_text()
    with replaced(path) as temporary:
        save_file(tensors, temporary, metadata)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights in a file and their description.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it may not be read.
        ValueError: If it is not a whole file that `save_weights` wrote.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no weights at {path}") from error
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is not a weights file of segaware, nor any file, but a folder or device")
    with path.open("rb"):  # safetensors would say of a file that may not be read that there is none
        pass
    try:
        with safe_open(path, "pt") as file:
            description = json.loads((file.metadata() or {})["segaware"])
            if not isinstance(description, dict):
                raise ValueError(f"its description is {description!r:.60}")
            return {name: file.get_tensor(name) for name in file.keys()}, description  # noqa: SIM118
    except (MemoryError, OSError):
        raise
    except Exception as error:  # damage has many errors, depending on where it is
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not a weights file of segaware, or it is damaged: {reason}") from error
