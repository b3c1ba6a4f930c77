"""The command `segaware embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segaware.cli.files import do_files
from segaware.cli.options import WHOLE, Gpus, Overwrite, Ray, RayWorkers, device_of, errors, only_cluster_of
from segaware.cli.shards import do_shards
from segaware.cluster.shard_job import ShardJob
from segaware.cluster.shards import Column, is_shards
from segaware.data import IMAGE_SUFFIXES, DataError, files_by_stem
from segaware.refining.embed_files import EMBEDDING_SUFFIXES, EmbedJob
from segaware.refining.refine_files import open_embedding


def embed(
    source: Annotated[str, typer.Argument(help="A folder of photographs or shards; of shards a URL, too.")],
    out: Annotated[str, typer.Option("--out", help="Folder to write NAME.npy into, or shards with embedding.npy.")],
    embedding: Annotated[
        str, typer.Option("--embedding", help="pretrained, fast, vgg, color, or a network's .safetensors file.")
    ] = "pretrained",
    stride: Annotated[int, typer.Option("--stride", min=1, help="Embed every so many-th pixel.")] = 1,
    suffix: Annotated[str, typer.Option("--suffix", help=".npy or .safetensors.")] = ".npy",
    ray: Ray = None,
    workers: RayWorkers = 1,
    gpus: Gpus = 0,
    overwrite: Overwrite = False,
) -> None:
    """Write the embedding of every photograph, float32 (E, H / stride, W / stride)."""
    with errors(WHOLE):
        if suffix not in EMBEDDING_SUFFIXES:
            raise DataError(f"--suffix must be one of {', '.join(EMBEDDING_SUFFIXES)}, got {suffix!r}")
        cluster = only_cluster_of(ray, workers, gpus)
        open_embedding(embedding)  # fails before any file is looked at
        job = EmbedJob(embedding, stride, device_of(cluster))
        if is_shards(source):
            do_shards(source, ShardJob(job, Column(None, "embedding"), out, suffix), cluster, overwrite)
            return
        images = files_by_stem(Path(source), IMAGE_SUFFIXES)
        files = [(image, Path(out) / f"{stem}{suffix}") for stem, image in images.items()]
        do_files(files, job, Path(out), cluster, overwrite)
