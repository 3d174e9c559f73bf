"""Command line: ``python -m stockformer`` with ``sample``, ``check``, ``train``, ``report`` and other commands."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pandas as pd

from stockformer.check import check_table
from stockformer.checkpoint import checkpoint_files, save_checkpoint
from stockformer.config import DEFAULT_MODEL_CONFIG, LOOKBACK
from stockformer.dataset import StockDataset
from stockformer.explainability.measures import DETAILS
from stockformer.files import check_writable
from stockformer.model import LABEL_MODES, PooledTransformer
from stockformer.opening import open_model
from stockformer.planted.scores import WINDOWS
from stockformer.reports.explanation import report_windows
from stockformer.reports.faithfulness import write_faithfulness
from stockformer.reports.planted import write_planted
from stockformer.sample import MODELS, load_sample, write_sample
from stockformer.survey import survey
from stockformer.table import listed, read_table, table_files
from stockformer.training import FitResult, fit
from stockformer.workers import Engine

#: Options of ``train`` for the model's size: option, key of `DEFAULT_MODEL_CONFIG`, what it is.
_SIZES = (
    ("--layers", "num_layers", "layers of stock attention, each with one of cross-attention"),
    ("--heads", "nhead", "attention heads per layer"),
    ("--width", "d_model", "width of the model, a multiple of the heads"),
)
_DATA = "a CSV or Parquet file with one row per ticker and day, a folder with all_data_*.csv or *.parquet, or a glob"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            arguments.run(arguments)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"stockformer: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass  # dropping the exception frees the loops that it left, and their progress bars then end the line
    else:
        return 0
    print(f"stockformer: {arguments.stopped}", file=sys.stderr)
    return 130  # as shells do: 128 and the number of SIGINT


def _print_warning(message: Warning | str, *origin: Any, **options: Any) -> None:
    """Print a warning in one line, without the line of code behind it: the person at the terminal did not write it."""
    print(f"stockformer: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stockformer")
    parser.set_defaults(stopped="stopped")
    commands = parser.add_subparsers(required=True)
    writing, opening, running = _writing(), _opening(), _running()

    sample = commands.add_parser(
        "sample", parents=[writing], help="write the shipped data and model as CSV and checkpoint files"
    )
    sample.add_argument("--out", default=".", help="folder to write under (default: here)")
    sample.set_defaults(run=_sample)

    train = commands.add_parser("train", parents=[writing], help="train a model on CSV or Parquet files and save it")
    train.add_argument("data", nargs="+", help=f"each {_DATA}")
    train.add_argument("--out", required=True, help="checkpoint to write")
    target = train.add_mutually_exclusive_group()
    target.add_argument("--horizon", type=int, default=3, help="trading days ahead to predict (default: %(default)s)")
    target.add_argument("--target", help="column to predict instead")
    train.add_argument("--label-mode", default="binary", choices=LABEL_MODES, help="default: %(default)s")
    train.add_argument("--bucket-edges", type=float, nargs="+", help="edges of the buckets, in percent")
    train.add_argument("--lookback", type=int, default=LOOKBACK, help="days in a window (default: %(default)s)")
    for option, key, what in _SIZES:
        train.add_argument(
            option, dest=key, type=int, default=DEFAULT_MODEL_CONFIG[key], help=f"{what} (default: %(default)s)"
        )
    train.add_argument("--epochs", type=int, default=40, help="default: %(default)s")
    train.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    train.set_defaults(run=_train)

    check = commands.add_parser(
        "check", parents=[opening], help="list what a table holds, what it lacks and what looks odd; no model is run"
    )
    check.add_argument("data", help=_DATA)
    check.add_argument("--model", help="the .pt file that the table is meant for")
    check.set_defaults(run=_check)

    report = commands.add_parser(
        "report", parents=[writing, opening, running], help="write figures and a page about each of one or more days"
    )
    report.add_argument("checkpoint", help="a .pt file")
    report.add_argument("data", help=_DATA)
    report.add_argument(
        "--date", required=True, action="append", help="last day of the window; repeat for further reports"
    )
    report.add_argument("--ticker", help="default: the first with a window that ends on that day")
    report.add_argument("--out", required=True, help="folder to write into; several reports get one subfolder each")
    report.set_defaults(run=_report)

    faithfulness = commands.add_parser(
        "faithfulness", parents=[writing, opening, running], help="measure how far to trust the explanations of a model"
    )
    faithfulness.add_argument("checkpoint", nargs="?", help="a .pt file (default: the shipped models and data)")
    faithfulness.add_argument("data", nargs="?", help=_DATA)
    faithfulness.add_argument("--windows", type=int, default=64, help="evenly spaced windows (default: %(default)s)")
    faithfulness.add_argument("--out", required=True, help="Markdown page to write")
    faithfulness.add_argument("--table", help="CSV file to write as well")
    faithfulness.set_defaults(run=_faithfulness)

    surveying = commands.add_parser(
        "survey",
        parents=[opening, running],
        help="measure every window and write Parquet files; a stopped survey is resumed",
    )
    surveying.add_argument("checkpoint", help="a .pt file")
    surveying.add_argument("data", help=_DATA)
    surveying.add_argument("--to", required=True, help="folder to write into, or to resume")
    surveying.add_argument(
        "--measures", nargs="*", choices=DETAILS, default=["layers", "features"], help="default: layers features"
    )
    surveying.add_argument("--sectors", help="CSV file with columns ticker and sector, to filter and group windows by")
    surveying.set_defaults(run=_survey, stopped="stopped; run the same command to resume")

    planted = commands.add_parser(
        "planted", parents=[writing], help="measure whether explanations find known mechanisms"
    )
    planted.add_argument("--seeds", type=int, default=10, help="models per mechanism (default: %(default)s)")
    planted.add_argument("--windows", type=int, default=WINDOWS, help="windows per model (default: %(default)s)")
    planted.add_argument("--out", required=True, help="Markdown page to write")
    planted.add_argument("--table", help="CSV file to write as well")
    planted.set_defaults(run=_planted)
    return parser


def _writing() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    return parser


def _opening() -> argparse.ArgumentParser:
    """Options for what a checkpoint does not say: the arguments of `open_model`."""
    parser = argparse.ArgumentParser(add_help=False)
    options = parser.add_argument_group("what the checkpoint does not say")
    options.add_argument("--horizon", type=int, help="how many rows ahead the target is")
    options.add_argument("--threshold", type=float, help="smallest return that counts as UP, a fraction")
    options.add_argument("--bucket-edges", type=_edge, nargs="+", help="edges of the buckets, in percent, or auto")
    options.add_argument("--min-return", type=float, help="leave out windows with a return closer to 0 than this")
    options.add_argument(
        "--validation-fraction", type=float, help="share of the dates, at the end, kept out of the statistics"
    )
    options.add_argument("--lookback", type=int, help="days in a window")
    return parser


def _running() -> argparse.ArgumentParser:
    """Options for what runs the model over many windows: `_engine`."""
    parser = argparse.ArgumentParser(add_help=False)
    options = parser.add_mutually_exclusive_group()
    options.add_argument("--workers", type=_workers, help="worker processes (default: this process)")
    options.add_argument("--scheduler", help="address of a Dask scheduler, such as tcp://127.0.0.1:8786")
    return parser


def _workers(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}, expected at least 1 worker process")
    return int(text)


def _edge(text: str) -> float | str:
    return text if text == "auto" else float(text)


def _opening_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options that were passed."""
    names = ("horizon", "threshold", "bucket_edges", "min_return", "validation_fraction", "lookback")
    options = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if options.get("bucket_edges") == ["auto"]:
        options["bucket_edges"] = "auto"
    return options


def _sample(arguments: argparse.Namespace) -> None:
    for path in write_sample(arguments.out, overwrite=arguments.overwrite):
        print(path)


def _train(arguments: argparse.Namespace) -> None:
    if arguments.bucket_edges and arguments.label_mode != "buckets":
        raise ValueError(f"--bucket-edges has no effect with --label-mode {arguments.label_mode}, expected buckets")
    out = Path(arguments.out)
    read = [file for path in arguments.data for file in table_files(Path(path))]
    check_writable(checkpoint_files(out), inputs=read, make_folders=True, overwrite=arguments.overwrite)
    rows = pd.concat([read_table(file) for file in read], ignore_index=True)
    sizes = {key: getattr(arguments, key) for _, key, _ in _SIZES}
    sizes["dim_feedforward"] = 2 * sizes["d_model"]
    with _options_named():
        dataset = StockDataset(
            rows,
            target_col=arguments.target or f"close_{arguments.horizon}d_fwd_return",
            lookback=arguments.lookback,
            label_mode=arguments.label_mode,
            bucket_edges=arguments.bucket_edges,
        )
        result = fit(dataset, sizes, epochs=arguments.epochs, seed=arguments.seed)
    path = _saved(out, result, dataset)
    print(result.history.to_string(index=False))
    for name, value in result.metrics.items():
        is_count = name == "best_epoch" or name.endswith("_samples")
        print(f"{name:24} {value:.0f}" if is_count else f"{name:24} {value:.4f}")
    print(result.verdict)
    print(path)


@contextmanager
def _options_named() -> Iterator[None]:
    """Name the option instead of the argument in errors."""
    options = {key: option for option, key, _ in _SIZES} | {"target_col": "--target"}
    try:
        yield
    except ValueError as error:
        named = re.sub(rf"\b({'|'.join(options)})\b", lambda name: options[name[0]], str(error))
        raise ValueError(named) from None


def _saved(out: Path, result: FitResult, dataset: StockDataset) -> Path:
    try:
        return save_checkpoint(out, result.model, dataset.settings, result.metrics)
    except OSError as error:  # the disk may be full by now: training is not lost
        path = save_checkpoint(Path(mkdtemp()) / out.name, result.model, dataset.settings, result.metrics)
        raise OSError(f"{error}; the model is in {path}") from None


def _check(arguments: argparse.Namespace) -> None:
    print(check_table(arguments.data, arguments.model, **_opening_options(arguments)))


def _faithfulness(arguments: argparse.Namespace) -> None:
    if arguments.checkpoint is None and _opening_options(arguments):
        raise ValueError(f"{', '.join(_opening_options(arguments))} has no effect without a checkpoint")
    if arguments.checkpoint is not None and arguments.data is None:
        raise ValueError(f"{arguments.checkpoint} needs a CSV or Parquet file or a folder after it")
    outputs = [Path(path) for path in (arguments.out, arguments.table) if path is not None]
    read = [] if arguments.checkpoint is None else _files_read(arguments)
    check_writable(outputs, inputs=read, overwrite=arguments.overwrite)
    if arguments.checkpoint is None:
        models = {name: load_sample(name) for name in MODELS}
    else:
        models = {Path(arguments.checkpoint).stem: _open(arguments)}
    with _engine(arguments) as engine:
        write_faithfulness(models, arguments.out, windows=arguments.windows, table=arguments.table, engine=engine)
    print(arguments.out)


def _survey(arguments: argparse.Namespace) -> None:
    sectors = None if arguments.sectors is None else _sectors(Path(arguments.sectors))
    dataset, model = _open(arguments)
    with _engine(arguments) as engine:
        done = survey(model, dataset, arguments.to, measures=arguments.measures, sectors=sectors, engine=engine)
    print(f"{len(done):,} windows in {done.folder}, for stockformer.survey.open_survey({str(done.folder)!r})")


def _sectors(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no CSV file {path}")
    try:
        table = pd.read_csv(path, dtype=str)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not {"ticker", "sector"} <= set(table.columns):
        raise ValueError(f"{path} has the columns {listed(list(table.columns))}, expected ticker and sector")
    pairs = table[["ticker", "sector"]].dropna().drop_duplicates()
    twice = pairs["ticker"][pairs["ticker"].duplicated()]
    if len(twice):
        raise ValueError(f"{path} has more than one sector for {listed(sorted(set(twice)))}")
    return dict(pairs.itertuples(index=False))


@contextmanager
def _engine(arguments: argparse.Namespace) -> Iterator[Engine]:
    if arguments.scheduler is None:
        yield arguments.workers
        return
    try:
        from distributed import Client
    except ImportError:
        raise ImportError("--scheduler needs distributed: pip install 'stockformer-widgets[cluster]'") from None
    with Client(arguments.scheduler, timeout=10) as client:
        yield client


def _planted(arguments: argparse.Namespace) -> None:
    outputs = [Path(path) for path in (arguments.out, arguments.table) if path is not None]
    check_writable(outputs, overwrite=arguments.overwrite)
    write_planted(arguments.out, seeds=arguments.seeds, windows=arguments.windows, table=arguments.table)
    print(arguments.out)


def _files_read(arguments: argparse.Namespace) -> list[Path]:
    return [*checkpoint_files(Path(arguments.checkpoint)), *table_files(Path(arguments.data))]


def _open(arguments: argparse.Namespace) -> tuple[StockDataset, PooledTransformer]:
    return open_model(arguments.checkpoint, arguments.data, **_opening_options(arguments))


def _report(arguments: argparse.Namespace) -> None:
    dataset, model = _open(arguments)
    windows = [dataset.index_of(date, arguments.ticker) for date in arguments.date]
    options = {"files_read": _files_read(arguments), "overwrite": arguments.overwrite}
    with _engine(arguments) as engine:
        pages = report_windows(model, dataset, windows, arguments.out, **options, engine=engine)
    for page in pages:
        print(page)


if __name__ == "__main__":
    sys.exit(main())
