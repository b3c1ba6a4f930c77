"""The command `segaware table`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from segaware.cli.options import (
    Accelerator,
    DataRoot,
    DeviceCount,
    Nodes,
    Overwrite,
    Runs,
    Strategy,
    TrainingPrecision,
    errors,
    with_precision,
)
from segaware.cli.show import show
from segaware.experiments.seeds import run_seeds
from segaware.experiments.table import run_table
from segaware.experiments.tasks import named_task
from segaware.experiments.workspace import Workspace
from segaware.outputs import check_outputs, wrote_table
from segaware.provenance import write_json
from segaware.ranks import once
from segaware.recipes.files import choose_data
from segaware.recipes.names import run_name, table_path
from segaware.training import Devices, launched


def table(
    name: Annotated[str, typer.Argument(help="A name from `segaware recipes`, or a YAML file.")],
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
    costs: Annotated[
        bool, typer.Option(help="Measure time and memory of every row in a process of its own; else times are rough.")
    ] = True,
    overwrite: Overwrite = False,
    devices: DeviceCount = None,
    nodes: Nodes = None,
    strategy: Strategy = None,
    accelerator: Accelerator = "auto",
    precision: TrainingPrecision = None,
) -> None:
    """Train what is missing of a table, score every row and compare it with the control."""
    chosen = Devices(devices, nodes, strategy, accelerator)
    with errors():
        changes = with_precision(overrides, precision)
        key, _ = choose_data(name, changes)
        path = out / f"{table_path(name, key)}.json"
        check_outputs([path, path.with_suffix(".png")], overwrite=overwrite or wrote_table(path, run_name(name)))
        workspace = Workspace(runs, data_root)
        with launched(chosen):
            if seeds == 1:
                values = run_table(name, workspace, changes, costs, chosen)
            else:
                values = run_seeds(name, range(seeds), workspace, changes, costs, chosen)
            once(lambda: _write(values, path))


def _write(values: dict[str, Any], path: Path) -> None:
    write_json(path, values)
    task, figure = named_task(values["task"]), path.with_suffix(".png")
    task.draw(values, figure)
    show(values["title"], *task.cells(values, intervals=False))
    if figure.is_file():
        print(figure)
    print(path)
