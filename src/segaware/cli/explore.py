"""The command `segaware explore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segaware.cli.options import Overwrite, errors
from segaware.data import photograph
from segaware.outputs import check_outputs
from segaware.refining import Kind
from segaware.refining.refine_files import open_embedding
from segaware.showcase.explore.inputs import Sketch, open_photograph, open_sketch, open_truth, packaged_sketch
from segaware.showcase.explore.page import write_page

_INTERRUPTED = "nothing was written"


def explore(
    image: Annotated[
        Path | None, typer.Argument(help="A photograph; that of a cat which comes with segaware, if not given.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", help="What to sharpen first, as `segaware refine` reads it.")
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="What --scores holds; integers are labels, all else scores.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="The array in a .npz or .safetensors file.")] = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="A PNG of the true labels: the page shows IoU and errors.")
    ] = None,
    embedding: Annotated[
        list[str] | None,
        typer.Option("--embedding", help="fast, vgg, or a network's .safetensors file; may be given several times."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("explore.html"),
    overwrite: Overwrite = False,
) -> None:
    """Write a page to look at the masks of a photograph, and to sharpen rough outlines and scores by hand."""
    with errors(_INTERRUPTED):
        if out.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"--out must be an .html file, got {out}")
        if scores is None and (kind is not None or key is not None):
            raise ValueError(f"--{'key' if kind is None else 'kind'} is of --scores, which is not given")
        inputs = [path for path in (image, scores, truth) if path is not None]
        check_outputs([out], inputs, overwrite)
        networks = {name: open_embedding(name) for name in embedding or ["fast"]}
        shown = open_photograph(image or photograph())
        sketch: Sketch | None = None
        if scores is not None:
            sketch = open_sketch(scores, shown.pixels, kind, key)
        elif image is None:
            sketch = packaged_sketch()
        known = open_truth(truth, shown.pixels, sketch.classes if sketch else None) if truth else None
        height, width = shown.pixels.shape[:2]
        if shown.reduced:
            print(f"{shown.name} is shown reduced, from {shown.size[1]}x{shown.size[0]} to {width}x{height} pixels")
        out.parent.mkdir(parents=True, exist_ok=True)
        write_page(out, shown, networks, sketch, known)
        print(out)
