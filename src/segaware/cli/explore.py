"""The command `segaware explore`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from segaware.cli.options import WHOLE, Overwrite, errors
from segaware.data import photograph
from segaware.nn import Embedding
from segaware.outputs import check_outputs, make_folder
from segaware.progress import progress
from segaware.refining import Kind
from segaware.refining.refine_files import open_embedding
from segaware.showcase.explore.folder import INDEX, Entry, ReadSketches, find_sources, write_index, write_pages
from segaware.showcase.explore.inputs import open_photograph, open_sketches, open_truth, packaged_sketch
from segaware.showcase.explore.model import open_model
from segaware.showcase.explore.page import write_page


def explore(
    image: Annotated[
        Path | None,
        typer.Argument(help="A photograph, or a folder of them; the cat that comes with segaware, if not given."),
    ] = None,
    scores: Annotated[
        list[Path] | None,
        typer.Option(
            "--scores",
            help="What to sharpen first, as `segaware refine` reads it, or a folder; given twice, both are compared.",
        ),
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="What --scores holds; integers are labels, all else scores.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="The array in a .npz or .safetensors file.")] = None,
    truth: Annotated[
        Path | None,
        typer.Option("--truth", help="A PNG of the true labels, of which IoU and errors are shown; or a folder."),
    ] = None,
    embedding: Annotated[
        list[str] | None,
        typer.Option("--embedding", help="fast, vgg, or a network's .safetensors file; may be given several times."),
    ] = None,
    with_model: Annotated[
        Path | None,
        typer.Option(
            "--with-model",
            help="The folder dist/ of the npm package onnxruntime-web: the page takes other photographs then, too.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The page to write; of a folder, the folder. explore.html or explore if not given."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a page to look at the masks of a photograph, and to sharpen rough outlines and scores by hand."""
    is_folder = image is not None and image.is_dir()
    with errors(WHOLE if is_folder else "nothing was written"):
        scores = scores or []
        if len(scores) > 2:
            raise ValueError(f"--scores may be given twice, to compare two, got {len(scores)}")
        if not scores and (kind is not None or key is not None):
            raise ValueError(f"--{'key' if kind is None else 'kind'} is of --scores, which is not given")
        networks = {name: open_embedding(name) for name in embedding or ["fast"]}
        read = partial(open_sketches, kind=kind, key=key)
        if image is not None and is_folder:
            if with_model is not None:
                raise ValueError("--with-model is for the page of one photograph, which takes others then")
            _explore_folder(image, scores, truth, read, networks, out or Path("explore"), overwrite)
        else:
            _explore_one(image, scores, truth, read, networks, with_model, out or Path("explore.html"), overwrite)


def _explore_one(
    image: Path | None,
    scores: list[Path],
    truth: Path | None,
    read: ReadSketches,
    networks: dict[str, Embedding],
    with_model: Path | None,
    out: Path,
    overwrite: bool,
) -> None:
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--out must be an .html file, got {out}")
    check_outputs([out], [path for path in (image, *scores, truth) if path is not None], overwrite)
    shown = open_photograph(image or photograph())
    sketches = read(scores, shown.pixels)
    if not sketches and image is None:
        sketches = [packaged_sketch()]
    known = open_truth(truth, shown.pixels) if truth else None
    model = open_model(with_model, next(iter(networks.values()))) if with_model else None
    height, width = shown.pixels.shape[:2]
    if shown.reduced:
        print(f"{shown.name} is shown reduced, from {shown.size[1]}x{shown.size[0]} to {width}x{height} pixels")
    make_folder(out.parent)
    write_page(out, shown, networks, sketches, known, model)
    print(out)


def _explore_folder(
    folder: Path,
    scores: list[Path],
    truth: Path | None,
    read: ReadSketches,
    networks: dict[str, Embedding],
    out: Path,
    overwrite: bool,
) -> None:
    """Write the pages of a folder and their index, and list what could not be shown."""
    sources = find_sources(folder, scores, truth, out)
    index = out / INDEX
    inputs = [path for each in sources for path in (each.photograph, *each.scores, each.truth) if path is not None]
    check_outputs([index, *(source.page for source in sources)], inputs, overwrite)
    make_folder(sources[0].page.parent)
    entries: list[Entry] = []
    failed: dict[str, str] = {}
    done = progress(write_pages(sources, networks, read), "writing pages", "page", len(sources))
    for source, entry in zip(sources, done, strict=True):
        if isinstance(entry, Entry):
            entries.append(entry)
        else:
            failed[source.photograph.name] = entry
    sorted_by = "nothing" if not scores else "scores" if truth is None else "truth"
    write_index(index, folder.resolve().name, entries, failed, sorted_by)
    for name, reason in failed.items():
        print(f"segaware: {name}: {reason}", file=sys.stderr)
    print(index)
    if failed:
        raise typer.Exit(1)
