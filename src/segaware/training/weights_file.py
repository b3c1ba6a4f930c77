"""Trained weights as safetensors, with what they are weights of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from segaware.atomic import replaced
from segaware.nn.hub import METADATA, Pretrained


def save_weights(path: Path, network: nn.Module, description: dict[str, Any]) -> None:
    """Write the weights of `network` with a JSON description into a .safetensors file, whole or not at all.

    The arguments of a network of segaware are written too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in network.state_dict().items()}
    metadata = {"segaware": json.dumps(description)}
    if isinstance(network, Pretrained):
        metadata[METADATA] = network.config_text()
    with replaced(path) as temporary:
        save_file(tensors, temporary, metadata)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights in a file and their description.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not one that `save_weights` wrote.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safe_open(path, "pt") as file:
            description = json.loads((file.metadata() or {})["segaware"])
            return {name: file.get_tensor(name) for name in file.keys()}, description  # noqa: SIM118
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is not a weights file of segaware: {error}") from error
