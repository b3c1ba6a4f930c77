"""The `segaware` command: one file per subcommand."""

from __future__ import annotations

import typer

from segaware.cli.compare import compare
from segaware.cli.demo import demo
from segaware.cli.doctor import doctor
from segaware.cli.embed import embed
from segaware.cli.evaluate import evaluate
from segaware.cli.explore import explore
from segaware.cli.export import export
from segaware.cli.flow import flow
from segaware.cli.options import debug
from segaware.cli.predict import predict
from segaware.cli.recipes import recipes
from segaware.cli.refine import refine
from segaware.cli.separability import separability
from segaware.cli.submit import submit
from segaware.cli.table import table
from segaware.cli.train import train
from segaware.cli.tune import tune

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.callback()(debug)
app.command()(demo)
app.command()(recipes)
app.command()(train)
app.command("eval")(evaluate)
app.command()(predict)
app.command()(embed)
app.command()(flow)
app.command()(refine)
app.command()(explore)
app.command()(submit)
app.command()(export)
app.command()(compare)
app.command()(table)
app.command()(separability)
app.command()(tune)
app.command()(doctor)
