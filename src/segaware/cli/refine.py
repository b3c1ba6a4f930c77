"""The command `segaware refine`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from tqdm.auto import tqdm

from segaware.cli.files import BAR
from segaware.cli.options import Gpus, Ray, cluster_of, device_of, errors
from segaware.cli.refine_annotations import refine_all
from segaware.cli.shards import do_shards
from segaware.cluster.ray_actors import Cluster
from segaware.cluster.shard_job import ShardJob
from segaware.cluster.shards import Column, is_shards
from segaware.constants import IGNORE_INDEX
from segaware.data import DataError
from segaware.refining import Kind, Method, parse_memory
from segaware.refining.change_report import (
    check_labels_report,
    label_changes,
    put_back_labels,
    read_rejected,
    write_report,
)
from segaware.refining.grid import Align
from segaware.refining.refine_files import Files, RefineJob, check_suffix, find_files, open_embedding, refine_file
from segaware.refining.refine_folder import refine_folder, share_of
from segaware.refining.score_files import WRITTEN_SUFFIXES, FileSettings
from segaware.refining.settings import Settings
from segaware.refining.strength import Strength

_INTERRUPTED = "the same command goes on with what is not finished"
_RAY_MANY = "--ray is for folders, shards and annotations"


def refine(
    image: Annotated[str, typer.Argument(help="A photograph, or a folder of them; or of tar or Parquet shards.")],
    scores: Annotated[
        str,
        typer.Argument(
            help="What to sharpen: .npy, .npz, .safetensors, .png, .flo, .pfm; a folder of them; or COCO's .json. Of "
            "shards the ending of its names, such as npy, or its column."
        ),
    ],
    out: Annotated[str, typer.Option("--out", help="The .npy, .png, .flo, .pfm or .json file to write; or a folder.")],
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
    max_memory: Annotated[
        str, typer.Option("--max-memory", help="The most memory to take; every worker has an equal part of it.")
    ] = "4GB",
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes, each at an image of its own; they share the cores.")
    ] = 1,
    ray: Ray = None,
    gpus: Gpus = 0,
    suffix: Annotated[
        str | None, typer.Option("--suffix", help="Of files in a folder OUT; that of the scores, or .npy.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Folder for a page of what has changed most, to accept or reject.")
    ] = None,
    reject: Annotated[
        Path | None, typer.Option("--reject", help="What that page saves: is put back in OUT; nothing is refined.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that are there.")] = False,
) -> None:
    """Sharpen any model's scores, labels, depth or flow so that they follow the borders in the image."""
    with errors(_INTERRUPTED):
        settings = Settings(
            method=method,
            kind=kind or "scores",
            kernel_size=kernel_size,
            iterations=iterations,
            hardness=hardness,
            stride=stride,
            num_classes=num_classes,
            certainty=certainty,
            clip=clip,
            strength=_parse_strength(strength),
            ignore_index=ignore_index,
            align=align,
            region=region,
        )
        memory = parse_memory(max_memory)
        cluster = cluster_of(ray, workers, gpus)
        how = FileSettings(settings, kind, key, embedding, memory, overwrite, unknown, max_pixels, device_of(cluster))
        open_embedding(embedding)  # fails before any file is looked at
        photographs, given, output = Path(image), Path(scores), Path(out)
        if is_shards(image):
            _refine_shards(image, scores, out, how, cluster, suffix, report, reject)
        elif given.suffix.lower() == ".json":
            if suffix is not None:
                raise DataError("--suffix is for folders; the output of annotations is a .json file")
            if workers > 1 and ray is None:
                raise DataError("--workers of annotations are those of --ray; --ray local is this machine")
            if gpus:
                raise DataError("--gpus is for folders and shards; annotations are refined on CPUs")
            if not refine_all(photographs, given, output, how, report, reject, cluster):
                raise typer.Exit(1)
        elif not photographs.is_dir():
            if suffix is not None:
                raise DataError("--suffix is for folders; the suffix of --out says what is written")
            if report is not None or reject is not None:
                raise DataError("--report and --reject are for folders of labels, and for annotations")
            if workers > 1:
                raise DataError("--workers is for folders, of which each has an image at a time")
            if ray is not None:
                raise DataError(_RAY_MANY)
            _refine_one(photographs, given, output, how)
        else:
            files = find_files(photographs, given, output, suffix)
            if reject is not None:
                put_back_labels(files, read_rejected(reject))
            else:
                if report is not None:
                    check_labels_report(files, report, overwrite)
                complete = _refine_folder(files, output, how, workers, cluster)
                if report is not None:
                    write_report(report, label_changes(files))
                if not complete:
                    raise typer.Exit(1)
        print(out)


def _parse_strength(text: str) -> Strength:
    try:
        return "auto" if text == "auto" else float(text)
    except ValueError:
        raise ValueError(f"--strength must be 'auto' or a number in 0..1, got {text!r}") from None


def _refine_shards(
    source: str,
    scores: str,
    out: str,
    how: FileSettings,
    cluster: Cluster | None,
    suffix: str | None,
    report: Path | None,
    reject: Path | None,
) -> None:
    if report is not None or reject is not None:
        raise DataError("--report and --reject are for folders of labels, and for annotations")
    check_suffix(suffix)
    share = share_of(how, 1 if cluster is None else cluster.workers)
    keeps = () if suffix else WRITTEN_SUFFIXES
    do_shards(source, ShardJob(RefineJob(share), Column(scores), out, suffix or ".npy", keeps), cluster, how.overwrite)


def _refine_one(image: Path, scores: Path, out: Path, how: FileSettings) -> None:
    with refine_file(image, scores, out, how) as (pieces, done, work):
        for _ in tqdm(work, total=pieces, initial=done, desc="refining", unit="tile", leave=False, disable=None):
            pass


def _refine_folder(files: list[Files], out: Path, how: FileSettings, workers: int, cluster: Cluster | None) -> bool:
    """Refine all that is not there, and return whether all outputs are there then; those that are not are told."""
    left = [file for file in files if how.overwrite or not file[2].is_file()]
    done = len(files) - len(left)
    with tqdm(total=len(files), initial=done, desc="refining", unit=" images", bar_format=BAR, disable=None) as bar:

        def tell(file: Files, reason: str | None) -> None:
            if reason is not None:
                bar.write(f"segaware: {file[0].name}: {reason}", file=sys.stderr)
            bar.update()

        failed = refine_folder(left, out, how, workers, tell, cluster)
    if failed:
        names = ", ".join(image.name for image, _, _ in failed)
        print(f"{len(failed)} of {len(files)} images have no new output: {names}", file=sys.stderr)
    return not failed
