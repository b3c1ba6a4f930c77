"""`python -m benchmarks GROUP...`, in the root of a checkout, and `python -m benchmarks convert_camvid`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.architectures import find_libraries
from benchmarks.harness.plan import PEERS, Settings
from benchmarks.harness.run import check_runs, run_groups
from benchmarks.harness.tables import show_case
from benchmarks.registry import GROUPS, choose_groups
from segaware.cli.options import errors
from segaware.outputs import make_folder

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()
console.width = max(console.width, 100)  # a table is unreadable below that; let a narrow terminal wrap its lines


@app.command(epilog="`python -m benchmarks convert_camvid --help`: train a network and what it is converted to.")
def measure(
    groups: Annotated[
        list[str] | None,
        typer.Argument(
            help=f"Of {', '.join(GROUPS)}. If none is given: those that are fast on a CPU.", show_default=False
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="The long form: larger batches, longer, and the curves.")
    ] = False,
    threads: Annotated[int, typer.Option("--threads", help="Threads of PyTorch.")] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the inputs and of the order of contenders.")] = 0,
    peers: Annotated[Path, typer.Option("--peers", help="Folder of what to compare with.", show_default=False)] = PEERS,
    data_root: Annotated[
        Path | None, typer.Option("--data-root", help="Folder of data sets, for flow_values.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for a JSON file per group.")] = Path("results/bench"),
) -> None:
    """Measure operators and networks beside plain convolution and other implementations (a few minutes)."""
    with errors("the files of groups that were not finished are as before"):
        find_libraries()
        chosen = choose_groups(groups or [], full)
        settings = Settings(peers, full, seed, threads, data_root)
        check_runs(chosen, settings)
        make_folder(out)
        for values in run_groups(chosen, settings, out):
            rows = chosen[values["group"]].rows
            for row in values[rows]:
                if rows == "cases":
                    show_case(console, values["group"], row)
                else:
                    console.print(row)
            print(out / f"{values['group']}.json")


def main() -> None:
    """Measure, or train."""
    if sys.argv[1:2] == ["convert_camvid"]:
        from benchmarks import convert_camvid

        convert_camvid.main(sys.argv[2:])
    else:
        app(prog_name="python -m benchmarks")


if __name__ == "__main__":
    main()
