"""Training, scoring and comparing what recipes say."""

from segaware.experiments.build import build_network, open_data
from segaware.experiments.comparison import draw_comparison
from segaware.experiments.evaluation import evaluate
from segaware.experiments.export import export_embedding, export_network
from segaware.experiments.run import load_network, train
from segaware.experiments.seeds import run_seeds
from segaware.experiments.separability import draw_separability, measure_separability
from segaware.experiments.table import run_table
from segaware.experiments.workspace import Workspace

__all__ = [
    "Workspace",
    "build_network",
    "draw_comparison",
    "draw_separability",
    "evaluate",
    "export_embedding",
    "export_network",
    "load_network",
    "measure_separability",
    "open_data",
    "run_seeds",
    "run_table",
    "train",
]
