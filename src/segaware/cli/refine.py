"""The command `segaware refine`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from tqdm.auto import tqdm

from segaware.cli.options import errors
from segaware.data import DataError
from segaware.recipes.refine_files import FileSettings, find_files, load_embedding, refine_file
from segaware.refining import Kind, Method, parse_memory
from segaware.refining.settings import Settings

_INTERRUPTED = "the same command goes on with what is not finished"


def refine(
    image: Annotated[Path, typer.Argument(help="A photograph, or a folder of them.")],
    scores: Annotated[
        Path, typer.Argument(help="What to sharpen: .npy, .npz, .safetensors, .png, .flo, .pfm; or a folder of them.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The .npy, .png, .flo or .pfm file to write; or a folder.")],
    method: Annotated[Method, typer.Option("--method", help="What sharpens.")] = "filter",
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="What SCORES are; integers are labels, .flo and .pfm are values.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="The array in a .npz or .safetensors file.")] = None,
    embedding: Annotated[
        str, typer.Option("--embedding", help="pretrained, color, or the .safetensors file of an embedding network.")
    ] = "pretrained",
    kernel_size: Annotated[int | None, typer.Option("--kernel-size", help="Window of filter or CRF.")] = None,
    iterations: Annotated[int | None, typer.Option("--iterations", help="Of filter or CRF.")] = None,
    hardness: Annotated[
        float | None, typer.Option("--hardness", help="How strictly filter or CRF keep to one region.")
    ] = None,
    stride: Annotated[int | None, typer.Option("--stride", help="At which filter or CRF run.")] = None,
    num_classes: Annotated[int | None, typer.Option("--num-classes", help="Of labels.")] = None,
    clip: Annotated[float, typer.Option("--clip", help="The least probability that a CRF takes.")] = 1e-5,
    certainty: Annotated[float, typer.Option("--certainty", help="Probability that a label is right.")] = 0.7,
    max_memory: Annotated[str, typer.Option("--max-memory", help="The most memory to take.")] = "4GB",
    suffix: Annotated[
        str | None, typer.Option("--suffix", help="Of files in a folder OUT; that of the scores, or .npy.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that are there.")] = False,
) -> None:
    """Sharpen any model's scores, labels, depth or flow so that they follow the borders in the image."""
    with errors(_INTERRUPTED):
        settings = Settings(
            method, kind or "scores", kernel_size, iterations, hardness, stride, num_classes, certainty, clip
        )
        how = FileSettings(settings, kind, key, embedding, parse_memory(max_memory), overwrite)
        load_embedding(embedding)  # fails before any file is looked at
        if not image.is_dir():
            if suffix is not None:
                raise DataError("--suffix is for folders; the suffix of --out says what is written")
            _refine_one(image, scores, out, how)
            print(out)
            return
        if _refine_folder(find_files(image, scores, out, suffix), how):
            raise typer.Exit(1)
        print(out)


def _refine_one(image: Path, scores: Path, out: Path, how: FileSettings) -> None:
    pieces, done, work = refine_file(image, scores, out, how)
    for _ in tqdm(work, total=pieces, initial=done, desc="refining", unit="tile", leave=False):
        pass


def _refine_folder(files: list[tuple[Path, Path, Path]], how: FileSettings) -> int:
    """Refine one after the other, and return how many have failed."""
    failures = 0
    for image, scores, out in (bar := tqdm(files, desc="refining", unit="image")):
        if out.exists() and not how.overwrite:
            continue
        try:
            for _ in refine_file(image, scores, out, how)[2]:
                pass
        except (MemoryError, OSError, ValueError) as error:
            failures += 1
            bar.write(f"segaware: {image.name}: {' '.join(str(error).split())}", file=sys.stderr)
    return failures
