"""Files of the embeddings of photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save

from segaware.atomic import replaced
from segaware.cluster.job import Failure, Files, reason_of
from segaware.data import read_image
from segaware.refining.refine_files import open_embedding
from segaware.refining.refinement import to_input

EMBEDDING_SUFFIXES = (".npy", ".safetensors")


@dataclass(frozen=True)
class EmbedJob:
    """Writes the embedding of a photograph, float32 (E, ceil(H / stride), ceil(W / stride)).

    Of a .safetensors file it is the tensor "embedding".

    Attributes:
        embedding: An `EmbeddingName`, or the name of a .safetensors file of an embedding network.
        stride: Of the pixels that are embedded.
        device: Where the network computes.
    """

    embedding: str
    stride: int = 1
    device: str = "cpu"

    def open(self) -> None:
        """Load the network."""
        open_embedding(self.embedding, self.device)

    def __call__(self, files: Files) -> Failure | None:
        """Embed the photograph of the first file into the second, and return why that failed."""
        image, out = files
        try:
            write_embedding(out, self._embed(image))
        except Exception as error:  # of whatever kind: the next photograph may be all right
            return Failure(reason_of(error))
        return None

    @torch.inference_mode()
    def _embed(self, image: Path) -> np.ndarray:
        network = open_embedding(self.embedding, self.device)
        pixels = to_input(read_image(image), torch.device(self.device))
        return network(pixels, self.stride)[0].float().cpu().numpy()


def write_embedding(path: Path, embedding: np.ndarray) -> None:
    """Write an embedding into a file of one of `EMBEDDING_SUFFIXES`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    embedding = np.ascontiguousarray(embedding)
    with replaced(path) as temporary:
        if path.suffix == ".safetensors":
            temporary.write_bytes(save({"embedding": embedding}))
        else:
            with temporary.open("wb") as file:
                np.save(file, embedding)
