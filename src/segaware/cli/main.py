"""The `segaware` command: one function per subcommand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from segaware.atomic import check_folder
from segaware.cli.bench.gpu.tune import tune as tune_tiles
from segaware.cli.bench.plan import Settings
from segaware.cli.bench.run import check_settings, choose_groups, run_groups
from segaware.cli.bench.tables import show_case
from segaware.cli.doctor import report_lines
from segaware.cli.flow import flow
from segaware.cli.flow_tables import draw_errors, flow_cells, flow_scores_cells, is_flow
from segaware.cli.options import DataRoot, Overrides, Overwrite, RecipeName, Runs, Weights, debug, errors, read_recipe
from segaware.cli.refine import refine
from segaware.cli.tables import draw_trimap, scores_cells, show, table_cells, table_path
from segaware.data import write_png
from segaware.experiments.comparison import draw_comparison
from segaware.experiments.evaluation import evaluate
from segaware.experiments.export import export_embedding, export_network
from segaware.experiments.flow_evaluation import evaluate_flow
from segaware.experiments.prediction import find_images, output_paths, prepare_output, write_submission
from segaware.experiments.prediction import predict as predict_images
from segaware.experiments.run import load_network
from segaware.experiments.run import train as train_recipe
from segaware.experiments.seeds import run_seeds
from segaware.experiments.table import run_table
from segaware.experiments.trained import run_folder, weights_path
from segaware.outputs import check_apart, check_folder_can_be_written, check_outputs, wrote_table
from segaware.progress import progress
from segaware.provenance import provenance, write_json
from segaware.recipes.files import RecipeError, choose_data, load_recipe, recipe_names, table_names
from segaware.recipes.schema import FlowRecipe, SegmentationRecipe, SharpeningRecipe
from segaware.showcase.demo import write_page

_WHOLE = "the files that are written are whole; --overwrite starts again"
_NOTHING = "nothing is written"

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.callback()(debug)
console = Console()
console.width = max(console.width, 100)  # a table is unreadable below that; let a narrow terminal wrap its lines


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("demo"), overwrite: Overwrite = False
) -> None:
    """Train a plain and a segmentation-aware network on procedural scenes, and compare them (a few minutes)."""
    with errors():
        results = out / "results.json"
        outputs = [results, out / "index.html", out / "predictions.png"]
        check_outputs(outputs, overwrite=overwrite or wrote_table(results, "demo"))
        out.mkdir(parents=True, exist_ok=True)
        table = run_table("demo", out / "runs", None, costs=False)
        write_json(results, table)
        headers, rows = table_cells(table, (1, 3, 10), boundary=False)
        write_page(out / "index.html", table, headers, rows, out / "runs")
        show(console, table["title"], *table_cells(table, (1, 3, 10), intervals=False, boundary=False))
        console.print(f"Pictures: {out / 'index.html'}")


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe with all its values.")] = None,
    overrides: Overrides = None,
) -> None:
    """List the recipes and tables, or print one recipe."""
    with errors():
        if name is not None:
            values, _ = read_recipe(name, overrides, Path())
            print(yaml.safe_dump(values.model_dump(mode="json"), sort_keys=False), end="")
            return
        listed = {recipe: load_recipe(recipe) for recipe in recipe_names()}
        names, titles = max(map(len, listed)), max(len(values.title) for values in listed.values())
        for recipe, values in listed.items():
            published = getattr(values, "published", None)
            paper = "" if published is None else f"{published:.2f} in the paper"
            print(f"{recipe:{names}}  {values.title:{titles}}  {paper}".rstrip())
        print(f"\ntables (segaware table NAME): {', '.join(table_names())}")


@app.command()
def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start afresh whatever the folder holds.")] = False,
) -> None:
    """Train a recipe, or go on with it where it was interrupted."""
    with errors():
        values, runs = read_recipe(recipe, overrides, runs)
        if overwrite or not weights_path(runs, recipe).is_file():
            print(f"training {recipe} - {values.title}", flush=True)
        print(train_recipe(recipe, values, runs, data_root, overwrite))


@app.command("eval")
def evaluate_(
    recipe: RecipeName,
    overrides: Overrides = None,
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    checkpoint: Weights = None,
) -> None:
    """Score a trained recipe on its validation images: mean, trimap and boundary IoU; or the errors of its flow."""
    with errors():
        values, runs = read_recipe(recipe, overrides, runs)
        network, _ = load_network(recipe, values, checkpoint or weights_path(runs, recipe))
        path = run_folder(runs, recipe) / "scores.json"
        check_outputs([path], overwrite=True)  # it is this command's own
        if isinstance(values, FlowRecipe):
            result, headers, cells = flow_scores_cells(evaluate_flow(values, network, data_root))
        else:
            result, headers, cells = scores_cells(evaluate(values, network, data_root))
        show(console, f"{values.title}, {result['images']} images", headers, [cells])
        write_json(path, {"recipe": recipe, **result, "measured": provenance()})
        print(path)


@app.command()
def predict(
    source: Annotated[Path, typer.Argument(help="An image or a folder of images, of any size.")],
    overrides: Overrides = None,
    *,
    recipe: Annotated[str, typer.Option("--recipe", help="A trained segmentation recipe.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write labels/ and pictures/ into.")] = Path(
        "predictions"
    ),
    runs: Runs = Path("runs"),
    checkpoint: Weights = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the label map of every image, and a picture of it beside the image."""
    with errors(_WHOLE):
        values, runs = read_recipe(recipe, overrides, runs)
        if not isinstance(values, SegmentationRecipe) or isinstance(values, SharpeningRecipe):
            raise RecipeError(f"{recipe} is of the {values.stage} stage; predict with a segmentation recipe")
        network, _ = load_network(recipe, values, checkpoint or weights_path(runs, recipe))
        images, others = find_images(source)
        check_apart((out / "labels", out / "pictures"), images)
        check_outputs([path for image in images for path in output_paths(image, out)], images, overwrite)
        prepare_output(out)
        for _ in progress(predict_images(values, network, images, out), "predicting", "image", len(images)):
            pass
        for path in others:
            print(f"left out, not an image: {path}")
        print(f"{len(images)} images: {out / 'labels'}, {out / 'pictures'}")


app.command()(flow)
app.command()(refine)


@app.command()
def submit(
    recipe: RecipeName,
    overrides: Overrides = None,
    *,
    data_root: DataRoot = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write results.tgz into.")] = Path("submission"),
    runs: Runs = Path("runs"),
    checkpoint: Weights = None,
    overwrite: Overwrite = False,
) -> None:
    """Predict VOC 2012's test images, and pack the archive that its test server takes."""
    with errors(_WHOLE):
        values, runs = read_recipe(recipe, overrides, runs)
        network, _ = load_network(recipe, values, checkpoint or weights_path(runs, recipe))
        print(write_submission(values, network, data_root, out, overwrite))


@app.command()
def export(
    recipe: RecipeName,
    out: Annotated[Path, typer.Argument(help="The file to write: .onnx or .safetensors.")],
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    checkpoint: Weights = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
) -> None:
    """Write a trained network as ONNX; or its embeddings in half precision, for `EmbeddingNet.from_pretrained`."""
    with errors():
        suffix = out.suffix.lower()
        if suffix not in (".onnx", ".safetensors"):
            raise RecipeError(f"the file to write must end in .onnx or .safetensors, got {out}")
        values, runs = read_recipe(recipe, overrides, runs)
        weights = checkpoint or weights_path(runs, recipe)
        check_outputs([out], [weights, weights_path(runs, recipe)], overwrite)
        if suffix == ".onnx":
            difference = export_network(recipe, values, weights, out)
            print(f"largest difference to onnxruntime: {difference:.1e}")
        else:
            export_embedding(recipe, values, runs, out, checkpoint)
        print(out)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="A recipe that a table has scored.")],
    second: Annotated[str, typer.Argument(help="Another one of that table.")],
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="The PNG file to write.")] = Path("comparison.png"),
    count: Annotated[int, typer.Option("--count", min=1, help="Images of each kind.")] = 3,
    reduce: Annotated[int, typer.Option("--reduce", min=1, help="Show every so many-th pixel.")] = 2,
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    overwrite: Overwrite = False,
) -> None:
    """Draw the images on which the second recipe gains most over the first, then those on which it loses most."""
    with errors(_NOTHING):
        if out.suffix.lower() != ".png":
            raise RecipeError(f"the picture to write must end in .png, got {out}")
        check_outputs([out], overwrite=overwrite)
        check_folder(out)
        recipes = [read_recipe(name, overrides, runs) for name in (first, second)]
        picture = draw_comparison(
            (first, second), (recipes[0][0], recipes[1][0]), recipes[1][1], data_root, count, reduce
        )
        write_png(out, picture)
        print(out)


@app.command()
def table(
    name: Annotated[str, typer.Argument(help="A name from `segaware recipes`.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="data=KEY, one of the table's data sets, and changes to all recipes that have the key."),
    ] = None,
    data_root: DataRoot = None,
    runs: Runs = Path("runs"),
    out: Annotated[Path, typer.Option("--out", help="Folder for NAME.json, or NAME/KEY.json, and its figure.")] = Path(
        "results"
    ),
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=100, help="Train with so many seeds, 0 and on, and compare over them.")
    ] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Train what is missing of a table, score every row and compare it with the control."""
    with errors():
        key, _ = choose_data(name, overrides or ())
        path = out / f"{table_path({'table': name, 'data': key})}.json"
        check_outputs([path, path.with_suffix(".png")], overwrite=overwrite or wrote_table(path, name))
        if seeds == 1:
            values = run_table(name, runs, data_root, overrides or ())
        else:
            values = run_seeds(name, range(seeds), runs, data_root, overrides or ())
        path = out / f"{table_path(values)}.json"
        write_json(path, values)
        if is_flow(values):
            draw_errors(values, path.with_suffix(".png"))
            cells = flow_cells(values, intervals=False)
        else:
            draw_trimap(values, path.with_suffix(".png"))
            cells = table_cells(values, (1, 3, 10), intervals=False)
        show(console, values["title"], *cells)
        print(path.with_suffix(".png"))
        print(path)


@app.command()
def bench(
    groups: Annotated[
        list[str] | None,
        typer.Argument(help="Of layers, distance, filter, crf, overhead, network, recipes, curves; or gpu."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="The long form: larger batches, longer, and the curves.")
    ] = False,
    threads: Annotated[int, typer.Option("--threads", help="Threads of PyTorch.")] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the inputs and of the order of contenders.")] = 0,
    peers: Annotated[Path, typer.Option("--peers", help="Folder of what to compare with.")] = Path("benchmarks/peers"),
    out: Annotated[Path, typer.Option("--out", help="Folder for a JSON file per group.")] = Path("results/bench"),
) -> None:
    """Measure operators and networks beside plain convolution and other implementations (a few minutes)."""
    with errors("the files of groups that were not finished are as before"):
        names = choose_groups(groups or [], full)
        settings = Settings(peers, full, seed, threads)
        check_settings(settings)
        _make_folder(out)
        for values in run_groups(names, settings, out):
            for case in values["cases"]:
                show_case(console, values["group"], case)
            print(out / f"{values['group']}.json")


@app.command()
def tune(
    seed: Annotated[int, typer.Option("--seed", help="Seed of the inputs.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="The JSON file to write.")] = Path("src/segaware/ops/tiles.json"),
) -> None:
    """Search the tiles of the GPU kernels for the layers of the benchmark, and write the fastest (an hour on a GPU)."""
    with errors():
        settings = Settings(Path("benchmarks/peers"), seed=seed)
        _make_folder(out.parent)
        for line in tune_tiles(settings, out):
            print(line, flush=True)
        print(out)


@app.command()
def doctor() -> None:
    """Print versions, and which backends can run here or why they cannot."""
    for line in report_lines():
        print(line)


def _make_folder(folder: Path) -> None:
    """Create a folder and check that it can be written, before any work is done."""
    check_folder_can_be_written(folder)
    folder.mkdir(parents=True, exist_ok=True)
