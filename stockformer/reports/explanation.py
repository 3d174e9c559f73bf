"""Reports on samples, written to folders: figures, numbers, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor, nn
from tqdm.auto import tqdm

from stockformer.charts.figures import render
from stockformer.dataset import StockDataset, Window
from stockformer.files import check_writable, write_whole
from stockformer.forward import uncompiled
from stockformer.reports.page import page
from stockformer.reports.sections import Section, Subject, sections_on
from stockformer.target_column import TargetColumn
from stockformer.workers import Engine, run_in_order

_DPI = 110


def generate_report(
    model: nn.Module,
    *inputs: Tensor,
    output_dir: str | Path,
    input_names: Sequence[str] | None = None,
    feature_names: Sequence[Sequence[str]] | None = None,
    sample: int = 0,
    dates: Sequence[Any] | None = None,
    prices: pd.DataFrame | None = None,
    label: float | None = None,
    assumption: str = "",
    target: TargetColumn | None = None,
    means: Sequence[Tensor] | None = None,
    title: str = "Attention report",
    files_read: Sequence[Path] = (),
    overwrite: bool = True,
) -> dict[str, Path]:
    """Write every figure as PNG, and ``report.html`` with all of them and the numbers.

    Args:
        model: any module that holds `nn.MultiheadAttention`, called as ``model(*inputs)``.
        inputs: each [B, T, features] for a stock transformer.
        output_dir: created where it does not exist.
        input_names: one per input, such as ``["Stock", "Market"]``.
        feature_names: one list per input.
        sample: index in the batch.
        dates: the T days of that sample.
        prices: prices on these days, as in `Window.prices`.
        label: the true value or class number of that sample, if it is known.
        assumption: the guesses behind the label, in words; see `StockDataset.assumption`.
        target: what a regression predicts, where that is known; see `StockDataset.target_column`.
        means: training means of every input, each [features], as in `Window.means`; by default 0, as for normalised
            inputs.
        files_read: files that are read, and so must not be overwritten, not even through a link.
        overwrite: whether files of the same names are replaced.

    Returns:
        Name of the figure -> its file, and ``report`` -> the page, which needs
        no other file and no network.

    Raises:
        ValueError: names or dates that do not fit the inputs, no such sample,
            a model without attention, or a file to write is one of `files_read`.
        FileExistsError: a file would be replaced, and `overwrite` is False.
        OSError: the directory cannot be written.
    """
    known: dict[str, Any] = {"dates": dates, "prices": prices, "label": label, "assumption": assumption}
    subject = Subject(inputs, input_names, feature_names, sample, **known, target=target, means=means, title=title)
    return _write_report(model, subject, Path(output_dir), files_read, overwrite)


def report_windows(
    model: nn.Module,
    dataset: StockDataset,
    indices: Sequence[int],
    output_dir: str | Path,
    *,
    files_read: Sequence[Path] = (),
    overwrite: bool = True,
    engine: Engine = None,
) -> list[Path]:
    """`generate_report` on windows of a dataset, with a progress bar: one goes into the folder itself, several go into
    subfolders such as ``2008-10-15_AAPL``.

    Args:
        indices: which windows; one that is named twice is reported on once.
        output_dir, files_read, overwrite: see `generate_report`.
        engine: what draws the reports if there are several, see `stockformer.workers.run_chunks`.

    Returns:
        The pages.

    Raises:
        IndexError: there is no such window.
        FileExistsError, OSError, ValueError: as for `generate_report`. Reports written before the error stay.
    """
    windows = [dataset.window(index) for index in indices]
    chosen = list({(window.ticker, window.dates[-1]): window for window in windows}.values())
    top = Path(output_dir)
    if len(chosen) == 1:
        return [_write_report(model, _subject(dataset, chosen[0]), top, files_read, overwrite)["report"]]
    folders = [top / f"{window.dates[-1].date()}_{_safe(window.ticker)}" for window in chosen]
    pages = [folder / "report.html" for folder in folders]
    check_writable(pages, files_read, make_folders=True, overwrite=overwrite)
    reports = run_in_order(_report, model, lambda place: _subject(dataset, chosen[place]), len(chosen), engine)
    for folder, files in zip(folders, tqdm(reports, desc="reports", total=len(chosen)), strict=True):
        check_writable([folder / name for name in files], files_read, make_folders=True, overwrite=overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole({folder / name: content for name, content in files.items()})
    return pages


def _write_report(
    model: nn.Module, subject: Subject, folder: Path, files_read: Sequence[Path], overwrite: bool
) -> dict[str, Path]:
    """Write a report; its files, figures and page, are checked before each long step."""
    check_writable([folder / "report.html"], files_read, make_folders=True, overwrite=overwrite)
    model = uncompiled(model)
    sections = sections_on(model, subject)
    paths = [folder / name for name in _names_of_files(sections)]
    check_writable(paths, files_read, make_folders=True, overwrite=overwrite)
    files = _drawn(model, subject, sections, progress=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole({folder / name: content for name, content in files.items()})
    return {path.stem: path for path in paths}


def _report(model: nn.Module, subject: Subject) -> dict[str, bytes]:
    """The files of a report, by name."""
    model = uncompiled(model)
    return _drawn(model, subject, sections_on(model, subject), progress=False)


def _drawn(model: nn.Module, subject: Subject, sections: Sequence[Section], *, progress: bool) -> dict[str, bytes]:
    """The files of a report, by name, the page last."""
    pictures = [picture for section in sections for picture in section.pictures]
    bar = tqdm(pictures, desc="report", unit="figure", disable=not progress)
    drawn = {picture.name: render(picture.plot(), _DPI) for picture in bar}
    written = page(model, subject.title, sections, drawn).encode(errors="replace")
    return dict(zip(_names_of_files(sections), [*drawn.values(), written], strict=True))


def _names_of_files(sections: Sequence[Section]) -> list[str]:
    return [*(f"{picture.name}.png" for section in sections for picture in section.pictures), "report.html"]


def _subject(dataset: StockDataset, window: Window) -> Subject:
    names = [dataset.feature_cols, *([dataset.market_feature_cols] if dataset.market_feature_cols else [])]
    return Subject(
        window.inputs,
        input_names=["Stock", "Market"][: len(names)],
        feature_names=names,
        dates=list(window.dates),
        prices=window.prices,
        label=None if window.y is None else float(window.y),
        assumption=dataset.assumption,
        target=dataset.target_column,
        means=window.means,
        title=f"{window.ticker}, {window.dates[-1].date()}",
    )


def _safe(ticker: str) -> str:
    """A ticker in the name of a folder, where BRK/B would be two."""
    return re.sub("[^A-Za-z0-9._-]+", "-", ticker)
