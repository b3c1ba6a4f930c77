"""The command `segaware refine`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from tqdm.auto import tqdm

from segaware.cli.options import errors
from segaware.constants import IGNORE_INDEX
from segaware.data import DataError
from segaware.locking import LockedError
from segaware.refining import Kind, Method, parse_memory
from segaware.refining.grid import Align
from segaware.refining.refine_files import OutputThereError, find_files, open_embedding, refine_file
from segaware.refining.score_files import FileSettings
from segaware.refining.settings import Settings
from segaware.refining.strength import Strength

Files: TypeAlias = tuple[Path, Path, Path]  # an image, its scores, its output

_INTERRUPTED = "the same command goes on with what is not finished"


def refine(
    image: Annotated[Path, typer.Argument(help="A photograph, or a folder of them.")],
    scores: Annotated[
        Path, typer.Argument(help="What to sharpen: .npy, .npz, .safetensors, .png, .flo, .pfm; or a folder of them.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The .npy, .png, .flo or .pfm file to write; or a folder.")],
    method: Annotated[Method, typer.Option("--method", help="What sharpens.")] = "filter",
    kind: Annotated[
        Kind | None,
        typer.Option("--kind", help="What SCORES are; integers are labels, .flo, .pfm and 16-bit PNG values."),
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="The array in a .npz or .safetensors file.")] = None,
    embedding: Annotated[
        str, typer.Option("--embedding", help="pretrained, fast, vgg, color, or a network's .safetensors file.")
    ] = "pretrained",
    strength: Annotated[
        str,
        typer.Option("--strength", help="auto, or how much of the filter to take, in 0..1; rough labels need 1."),
    ] = "auto",
    kernel_size: Annotated[int | None, typer.Option("--kernel-size", help="Window of filter or CRF.")] = None,
    iterations: Annotated[int | None, typer.Option("--iterations", help="Of filter or CRF.")] = None,
    hardness: Annotated[
        float | None, typer.Option("--hardness", help="How strictly filter or CRF keep to one region.")
    ] = None,
    stride: Annotated[int | None, typer.Option("--stride", help="At which filter or CRF run.")] = None,
    align: Annotated[
        Align | None,
        typer.Option("--align", help="How SCORES lie; strided where their size allows it, else centers."),
    ] = None,
    region: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option("--region", help="Left, top, right and bottom of what SCORES cover, in pixels; the image."),
    ] = None,
    num_classes: Annotated[int | None, typer.Option("--num-classes", help="Of labels.")] = None,
    ignore_index: Annotated[int, typer.Option("--ignore-index", help="The label of unknown pixels.")] = IGNORE_INDEX,
    clip: Annotated[float, typer.Option("--clip", help="The least probability that a CRF takes.")] = 1e-5,
    certainty: Annotated[float, typer.Option("--certainty", help="Probability that a label is right.")] = 0.7,
    unknown: Annotated[
        float | None, typer.Option("--unknown", help="The value of unknown pixels of values, such as 0 of depth.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option("--max-pixels", help="The most pixels of a photograph; Pillow's limit if not given.")
    ] = None,
    max_memory: Annotated[str, typer.Option("--max-memory", help="The most memory to take.")] = "4GB",
    suffix: Annotated[
        str | None, typer.Option("--suffix", help="Of files in a folder OUT; that of the scores, or .npy.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that are there.")] = False,
) -> None:
    """Sharpen any model's scores, labels, depth or flow so that they follow the borders in the image."""
    with errors(_INTERRUPTED):
        settings = Settings(
            method,
            kind or "scores",
            kernel_size,
            iterations,
            hardness,
            stride,
            num_classes,
            certainty,
            clip,
            _parse_strength(strength),
            ignore_index,
            align,
            region,
        )
        memory = parse_memory(max_memory)
        how = FileSettings(settings, kind, key, embedding, memory, overwrite, unknown, max_pixels)
        open_embedding(embedding)  # fails before any file is looked at
        if not image.is_dir():
            if suffix is not None:
                raise DataError("--suffix is for folders; the suffix of --out says what is written")
            _refine_one(image, scores, out, how)
            print(out)
            return
        if not _refine_folder(find_files(image, scores, out, suffix), how):
            raise typer.Exit(1)
        print(out)


def _parse_strength(text: str) -> Strength:
    try:
        return "auto" if text == "auto" else float(text)
    except ValueError:
        raise ValueError(f"--strength must be 'auto' or a number in 0..1, got {text!r}") from None


def _refine_one(image: Path, scores: Path, out: Path, how: FileSettings) -> None:
    with refine_file(image, scores, out, how) as (pieces, done, work):
        for _ in tqdm(work, total=pieces, initial=done, desc="refining", unit="tile", leave=False, disable=None):
            pass


def _refine_folder(files: list[Files], how: FileSettings) -> bool:
    """Refine one after the other, and return whether all outputs are there; those that are not are told."""
    failed = _refine_all(files, how)
    held = [file for file, error in failed if isinstance(error, LockedError)]
    missing = [file for file, error in failed if not isinstance(error, LockedError)]
    if held:  # by now they may be finished, or their process may have ended
        missing += [file for file, _ in _refine_all(held, how)]
    if missing:
        names = ", ".join(image.name for image, _, _ in missing)
        print(f"{len(missing)} of {len(files)} images have no new output: {names}", file=sys.stderr)
    return not missing


def _refine_all(files: list[Files], how: FileSettings) -> list[tuple[Files, Exception]]:
    """Refine one after the other, and return those that could not be, each with its error, which is told at once."""
    failed: list[tuple[Files, Exception]] = []
    for file in (bar := tqdm(files, desc="refining", unit="image", disable=None)):
        image, scores, out = file
        try:
            with refine_file(image, scores, out, how) as (_, _, work):
                for _ in work:
                    pass
        except OutputThereError:
            continue
        except Exception as error:  # of whatever kind: the next image may be all right
            failed.append((file, error))
            reason = " ".join(str(error).split()) or type(error).__name__
            bar.write(f"segaware: {image.name}: {reason}", file=sys.stderr)
    return failed
