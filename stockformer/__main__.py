"""Command line: ``python -m stockformer sample`` and ``python -m stockformer train``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import pandas as pd

from stockformer.checkpoint import save_checkpoint
from stockformer.dataset import StockDataset
from stockformer.model import LABEL_MODES
from stockformer.sample import write_sample
from stockformer.training import fit


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (ValueError, OSError, ImportError) as error:
        print(f"stockformer: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stockformer")
    commands = parser.add_subparsers(required=True)

    sample = commands.add_parser("sample", help="write the shipped data and model as CSV and checkpoint files")
    sample.add_argument("--out", default=".", help="folder to write under (default: here)")
    sample.set_defaults(run=_sample)

    train = commands.add_parser("train", help="train a model on CSV files and save it")
    train.add_argument("csv", nargs="+", help="tables with one row per ticker and day")
    train.add_argument("--out", required=True, help="checkpoint to write")
    train.add_argument("--target", default="close_3d_fwd_return", help="default: %(default)s")
    train.add_argument("--label-mode", default="binary", choices=LABEL_MODES, help="default: %(default)s")
    train.add_argument("--bucket-edges", type=float, nargs="+", help="edges of the buckets, in percent")
    train.add_argument("--epochs", type=int, default=40, help="default: %(default)s")
    train.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    train.set_defaults(run=_train)
    return parser


def _sample(arguments: argparse.Namespace) -> None:
    for path in write_sample(arguments.out):
        print(path)


def _train(arguments: argparse.Namespace) -> None:
    dataset = StockDataset(
        pd.concat([pd.read_csv(path) for path in arguments.csv], ignore_index=True),
        target_col=arguments.target,
        label_mode=arguments.label_mode,
        bucket_edges=arguments.bucket_edges,
    )
    result = fit(dataset, epochs=arguments.epochs, seed=arguments.seed)
    path = save_checkpoint(arguments.out, result.model, dataset.settings, result.metrics)
    print(result.history.to_string(index=False))
    for name, value in result.metrics.items():
        print(f"{name:24} {value:.4f}")
    print(path)


if __name__ == "__main__":
    sys.exit(main())
