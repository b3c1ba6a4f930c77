"""The `segaware` command: one file per subcommand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segaware.cli.bench.gpu.tune import tune as tune_tiles
from segaware.cli.bench.plan import Settings
from segaware.cli.bench.run import check_settings, choose_groups, run_groups
from segaware.cli.bench.tables import show_case
from segaware.cli.compare import compare
from segaware.cli.demo import demo
from segaware.cli.doctor import doctor
from segaware.cli.evaluate import evaluate
from segaware.cli.export import export
from segaware.cli.flow import flow
from segaware.cli.options import errors
from segaware.cli.predict import predict
from segaware.cli.recipes import recipes
from segaware.cli.refine import refine
from segaware.cli.show import console
from segaware.cli.submit import submit
from segaware.cli.table import table
from segaware.cli.train import train
from segaware.outputs import check_folder_can_be_written

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(demo)
app.command()(recipes)
app.command()(train)
app.command("eval")(evaluate)
app.command()(predict)
app.command()(flow)
app.command()(refine)
app.command()(submit)
app.command()(export)
app.command()(compare)
app.command()(table)


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


app.command()(doctor)


def _make_folder(folder: Path) -> None:
    """Create a folder and check that it can be written, before any work is done."""
    check_folder_can_be_written(folder)
    folder.mkdir(parents=True, exist_ok=True)
