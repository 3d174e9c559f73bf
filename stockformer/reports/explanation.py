"""A page about one sample: figures, numbers, and what they mean."""

from __future__ import annotations

import base64
import html
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm.auto import tqdm

from stockformer import __version__
from stockformer.charts.figures import day_labels, render
from stockformer.dataset import StockDataset, Window
from stockformer.explainability.attention.ablation import attention_effects, head_importance
from stockformer.explainability.attention.capture import Capture, capture_attention, kind_title
from stockformer.explainability.attention.flow import has_inflow, joint_rollout, market_entry, mean_norm_map, relevance
from stockformer.explainability.attention.trace import Trace, trace_attention
from stockformer.explainability.attribution.attribute import Attribution, attribute, can_attribute
from stockformer.explainability.faithfulness.curves import faithfulness_steps
from stockformer.explainability.faithfulness.rankings import CELL_RANKINGS, DAY_RANKINGS
from stockformer.explainability.sentences.attention import (
    summarize_gate,
    summarize_heads,
    summarize_layers,
    summarize_map,
    summarize_pooling,
)
from stockformer.explainability.sentences.flow import (
    summarize_days,
    summarize_effects,
    summarize_entry,
    summarize_faithfulness,
    summarize_flow_map,
    summarize_head_importance,
)
from stockformer.explainability.sentences.inputs import summarize_prices, summarize_saliency
from stockformer.explainability.sentences.outputs import summarize_outputs
from stockformer.explainability.sentences.summary import Summary
from stockformer.files import check_writable, write_whole
from stockformer.forward import uncompiled
from stockformer.inputs import Inputs
from stockformer.model import Forecaster
from stockformer.outputs import class_names, describe_outputs
from stockformer.plots import attention as attention_plots
from stockformer.plots import flow as flow_plots
from stockformer.plots import inputs as input_plots
from stockformer.plots import outputs as output_plots
from stockformer.steps import run_to_end
from stockformer.target_column import TargetColumn
from stockformer.workers import Engine, run_in_order

_DPI = 110
_LONGEST_STEM = 80  # characters


@dataclass(frozen=True)
class _Picture:
    """A figure: the name of its file, how to draw it, and a sentence on it."""

    name: str
    plot: Callable[[], Figure]
    verdict: str = ""


@dataclass(frozen=True)
class _Section:
    """Figures on one subject, a sentence on them, and tables: caption -> column -> the summary in it."""

    title: str
    verdict: str
    pictures: list[_Picture]
    numbers: Mapping[str, Mapping[str, Summary]]

    @property
    def summary(self) -> str:
        """What it says, or what its first picture with a sentence does."""
        return next(filter(None, [self.verdict, *(picture.verdict for picture in self.pictures)]), "")


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
    _check(inputs, input_names, feature_names, sample, dates)
    names = list(input_names or (f"Input {number}" for number in range(len(inputs))))
    folder = Path(output_dir)
    check_writable([folder / "report.html"], files_read, make_folders=True, overwrite=overwrite)
    model = uncompiled(model)
    known: dict[str, Any] = {"dates": dates, "prices": prices, "label": label, "assumption": assumption}
    sections = _sections(model, inputs, names, feature_names, sample, **known, target=target, means=means)
    paths = [folder / name for name in _names_of_files(sections)]
    check_writable(paths, files_read, make_folders=True, overwrite=overwrite)
    files = _drawn(model, sections, title, progress=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole({folder / name: content for name, content in files.items()})
    return {path.stem: path for path in paths}


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
    """`generate_report` on windows of a dataset, with a progress bar: on one into the folder, on several each into a
    folder in it, such as ``2008-10-15_AAPL``.

    Args:
        indices: which windows; one that is named twice is reported on once.
        output_dir, files_read, overwrite: see `generate_report`.
        engine: what draws the reports if there are several, see `stockformer.workers.run_chunks`.

    Returns:
        The pages.

    Raises:
        IndexError: there is no such window.
        FileExistsError, OSError, ValueError: as for `generate_report`. Reports that are written by then stay.
    """
    windows = [dataset.window(index) for index in indices]
    chosen = list({(window.ticker, window.dates[-1]): window for window in windows}.values())
    top = Path(output_dir)
    if len(chosen) == 1:
        (given,) = (_given(dataset, window) for window in chosen)
        options: dict[str, Any] = {"output_dir": top, "files_read": files_read, "overwrite": overwrite}
        return [generate_report(model, *given.pop("inputs"), **given, **options)["report"]]
    folders = [top / f"{window.dates[-1].date()}_{_safe(window.ticker)}" for window in chosen]
    pages = [folder / "report.html" for folder in folders]
    check_writable(pages, files_read, make_folders=True, overwrite=overwrite)
    reports = run_in_order(_report, model, lambda place: _given(dataset, chosen[place]), len(chosen), engine)
    for folder, files in zip(folders, tqdm(reports, desc="reports", total=len(chosen)), strict=True):
        check_writable([folder / name for name in files], files_read, make_folders=True, overwrite=overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole({folder / name: content for name, content in files.items()})
    return pages


def _safe(ticker: str) -> str:
    """A ticker in the name of a folder, where BRK/B would be two."""
    return re.sub("[^A-Za-z0-9._-]+", "-", ticker)


def _given(dataset: StockDataset, window: Window) -> dict[str, Any]:
    """Arguments of `generate_report` for a window."""
    names = [dataset.feature_cols, *([dataset.market_feature_cols] if dataset.market_feature_cols else [])]
    return {
        "inputs": window.inputs,
        "input_names": ["Stock", "Market"][: len(names)],
        "feature_names": names,
        "dates": list(window.dates),
        "prices": window.prices,
        "label": None if window.y is None else float(window.y),
        "assumption": dataset.assumption,
        "target": dataset.target_column,
        "means": window.means,
        "title": f"{window.ticker}, {window.dates[-1].date()}",
    }


def _report(model: nn.Module, given: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of a report, by name."""
    said = dict(given)
    inputs, names, features, title = (said.pop(name) for name in ("inputs", "input_names", "feature_names", "title"))
    model = uncompiled(model)
    return _drawn(model, _sections(model, inputs, names, features, 0, **said), title, progress=False)


def _sections(
    model: nn.Module,
    inputs: Sequence[Tensor],
    names: Sequence[str],
    feature_names: Sequence[Sequence[str]] | None,
    sample: int,
    *,
    dates: Sequence[Any] | None,
    prices: pd.DataFrame | None,
    label: float | None,
    assumption: str,
    target: TargetColumn | None,
    means: Sequence[Tensor] | None,
) -> list[_Section]:
    capture = capture_attention(model, *inputs)
    return [
        *_price_sections(prices),
        *_output_sections(model, capture, sample, label, assumption, target),
        *(_attention_section(capture, kind, sample, dates) for kind in capture.kinds),
        *_gate_sections(capture, sample, dates),
        *_pooling_sections(capture, sample, dates),
        *_explained_sections(model, capture, inputs, names, feature_names, sample, dates, means),
    ]


def _names_of_files(sections: Sequence[_Section]) -> list[str]:
    return [*(f"{picture.name}.png" for section in sections for picture in section.pictures), "report.html"]


def _drawn(model: nn.Module, sections: Sequence[_Section], title: str, *, progress: bool) -> dict[str, bytes]:
    """The files of a report, by name, the page last."""
    pictures = [picture for section in sections for picture in section.pictures]
    bar = tqdm(pictures, desc="report", unit="figure", disable=not progress)
    drawn = {picture.name: render(picture.plot(), _DPI) for picture in bar}
    page = _page(model, sections, drawn, title).encode(errors="replace")
    return dict(zip(_names_of_files(sections), [*drawn.values(), page], strict=True))


def _check(
    inputs: Sequence[Tensor],
    input_names: Sequence[str] | None,
    feature_names: Sequence[Sequence[str]] | None,
    sample: int,
    dates: Sequence[Any] | None,
) -> None:
    if not inputs:
        raise ValueError("a report needs at least one input, found none")
    batch = inputs[0].size(0)
    if not 0 <= sample < batch:
        raise ValueError(f"sample is {sample}, expected 0 to {batch - 1} for a batch of {batch}")
    for argument, entries in (("input_names", input_names), ("feature_names", feature_names)):
        if entries is not None and len(entries) != len(inputs):
            raise ValueError(f"{argument} has {len(entries)} entries for {len(inputs)} inputs")
    for number, (names, part) in enumerate(zip(feature_names or (), inputs, strict=False)):
        if len(names) != part.size(-1):
            raise ValueError(f"feature_names[{number}] has {len(names)} names for {part.size(-1)} features")
    if dates is not None and len(dates) != inputs[0].size(1):
        raise ValueError(f"there are {len(dates)} dates for {inputs[0].size(1)} days")


def _price_sections(prices: pd.DataFrame | None) -> Iterator[_Section]:
    if prices is not None:
        summary = summarize_prices(prices)
        picture = _Picture("price", partial(input_plots.plot_prices, prices))
        yield _Section("Price", summary.verdict, [picture], _one_table(summary))


def _output_sections(
    model: nn.Module, capture: Capture, sample: int, label: float | None, assumption: str, target: TargetColumn | None
) -> Iterator[_Section]:
    if isinstance(model, Forecaster):
        truth = None if label is None else torch.tensor([label])
        output = describe_outputs(capture.output[sample : sample + 1].float(), model, truth, assumption=assumption)
        names = class_names(model) or None
        summary = summarize_outputs(output, names, target)
        picture = _Picture(
            "prediction", partial(output_plots.plot_prediction, output, class_names=names, target=target)
        )
        yield _Section("Output", summary.verdict, [picture], _one_table(summary))


def _attention_section(capture: Capture, kind: str, sample: int, dates: Sequence[Any] | None) -> _Section:
    attn = capture.to_dict()
    layers = [weights[sample].float() for weights in capture.kinds[kind]]
    masks = [capture.layer_mask(kind, layer, sample) for layer in range(len(layers))]
    mean_masks = [capture.mask(kind, layer, sample=sample) for layer in range(len(layers))]
    maps = [
        summarize_map(weights.mean(dim=0), mask, _names(dates, weights.size(-1)))
        for weights, mask in zip(layers, mean_masks, strict=True)
    ]
    heads = [summarize_heads(weights, mask) for weights, mask in zip(layers, masks, strict=True)]
    depth = summarize_layers(layers, masks)
    stem = _stems(capture.kinds)[kind]
    pictures = [_Picture(f"{stem}_evolution", partial(attention_plots.plot_layer_evolution, attn, kind, sample=sample))]
    for layer, weights in enumerate(layers):
        name, title = f"{stem}_layer{layer}", f"{kind_title(kind)}, layer {layer}"
        labels, days = day_labels(kind), [_fitting(dates, length) for length in weights.shape[1:]]
        axes: dict[str, Any] = dict(
            zip(("query_label", "key_label", "query_dates", "key_dates"), (*labels, *days), strict=True)
        )
        mean = partial(attention_plots.plot_attention_heatmap, weights.mean(dim=0), mask=mean_masks[layer], **axes)
        pictures += [
            _Picture(
                name,
                partial(mean, title=f"{title}, mean of {len(weights)} heads"),
                _sentences(*capture.caveats_of(kind, layer), maps[layer].verdict),
            ),
            _Picture(
                f"{name}_heads",
                partial(attention_plots.plot_attention_all_heads, weights, mask=masks[layer], title=title, **axes),
                _sentences(*capture.caveats_of(kind, layer)),
            ),
            _Picture(
                f"{name}_specialization",
                partial(attention_plots.plot_head_specialization, attn, layer, kind, sample=sample, dates=days[1]),
                _sentences(*capture.caveats_of(kind, layer), heads[layer].verdict),
            ),
        ]
    numbers = {
        "Maps, mean of the heads": _by_layer(maps),
        "Heads": _by_layer(heads),
    } | _one_table(depth, "From the first layer to the last")
    return _Section(kind_title(kind), _sentences(*capture.caveats_of(kind), depth.verdict), pictures, numbers)


def _gate_sections(capture: Capture, sample: int, dates: Sequence[Any] | None) -> Iterator[_Section]:
    if capture.gates:
        attn = capture.to_dict()
        summaries = [summarize_gate(gate[sample]) for gate in capture.gates.values()]
        draw = partial(attention_plots.plot_gate_activations, attn, sample=sample, dates=dates)
        pictures = [
            _Picture(
                "gate_timeseries", partial(attention_plots.plot_gate_timeseries, attn, sample=sample, dates=dates)
            ),
            *(
                _Picture(f"gate_layer{layer}", partial(draw, layer=layer), summary.verdict)
                for layer, summary in enumerate(summaries)
            ),
        ]
        yield _Section("Gates", "", pictures, {"Numbers": _by_layer(summaries)})


def _pooling_sections(capture: Capture, sample: int, dates: Sequence[Any] | None) -> Iterator[_Section]:
    if capture.pooling is not None:
        summary = summarize_pooling(capture.pooling[sample], _names(dates, capture.pooling.size(1)))
        draw = partial(attention_plots.plot_attention_pooling, capture.to_dict(), sample=sample, dates=dates)
        yield _Section("Attention pooling", summary.verdict, [_Picture("pooling", draw)], _one_table(summary))


def _explained_sections(
    model: nn.Module,
    capture: Capture,
    inputs: Sequence[Tensor],
    names: Sequence[str],
    feature_names: Sequence[Sequence[str]] | None,
    sample: int,
    dates: Sequence[Any] | None,
    means: Sequence[Tensor] | None,
) -> Iterator[_Section]:
    if not can_attribute(inputs, capture.output):
        return
    chosen = Inputs((part[sample : sample + 1] for part in inputs), means)

    def attention() -> Iterator[_Section]:
        trace = trace_attention(model, *chosen)
        yield _carried_section(trace, capture, sample, dates)
        yield _importance_section(model, chosen, trace)

    def attribution() -> Iterator[_Section]:
        yield _attribution_section(attribute(model, *chosen, baselines=chosen.baseline), names, feature_names, dates)

    def faithfulness() -> Iterator[_Section]:
        yield _faithfulness_section(model, chosen, has_inflow(model))

    for title, sections in (
        ("Input attribution", attribution),
        ("What attention carries", attention),
        ("How far to trust it", faithfulness),
    ):
        try:
            yield from sections()
        except ValueError as error:
            yield _Section(title, f"Left out: {error}.", [], {})


def _attribution_section(
    attribution: Attribution,
    names: Sequence[str],
    feature_names: Sequence[Sequence[str]] | None,
    dates: Sequence[Any] | None,
) -> _Section:
    parts = [part.float() for part in attribution.parts]
    features = list(feature_names) if feature_names is not None else [None] * len(parts)
    pictures = []
    if len(parts) <= 2:
        named: dict[str, Any] = dict(zip(("stock_feature_names", "market_feature_names"), features, strict=False))
        draw = partial(input_plots.plot_saliency_summary, *parts, **named, stream_names=names)
        pictures.append(_Picture("saliency_summary", draw))
    for number, (name, part) in enumerate(zip(names, parts, strict=True)):
        draw = partial(
            input_plots.plot_saliency_map, part, features[number], signed=True, dates=_fitting(dates, len(part))
        )
        pictures.append(_Picture(f"saliency_{number}", partial(draw, title=f"{name}: attribution by day")))
    summary = summarize_saliency(parts)
    method = attribution.method.replace("_", " ")
    sums = f"They sum to the target's change (error {abs(attribution.completeness_error or 0.0):.1g})"
    words = attribution.caveat or sums
    verdict = f"By {method}. {words[0].upper()}{words[1:]}. {summary.verdict}"
    return _Section("Input attribution", verdict, pictures, _one_table(summary))


def _carried_section(trace: Trace, capture: Capture, sample: int, dates: Sequence[Any] | None) -> _Section:
    pictures: list[_Picture] = []
    numbers: dict[str, dict[str, Summary]] = {}
    if trace.pooling is not None:
        for name, flow in (("rollout", joint_rollout(trace)), ("relevance", relevance(trace))):
            summary = summarize_days(flow.days)
            title = f"What reaches the prediction by day: {name}"
            days = _fitting(dates, max(map(len, flow.days)))
            draw = partial(flow_plots.plot_day_scores, flow.days, title=title, dates=days)
            pictures.append(_Picture(f"days_{name}", draw, summary.verdict))
            numbers |= _one_table(summary, f"Days by {name}")
    gates = [layer.gate for layer in trace.kinds.get("cross", []) if layer.gate is not None]
    if gates:
        entries = market_entry(trace)
        summary = summarize_entry(entries, gates)
        draw = partial(flow_plots.plot_market_entry, entries, gates, dates=dates)
        pictures.append(_Picture("market_entry", draw, summary.verdict))
        numbers |= _one_table(summary, "How much market enters")
    stems = _stems(trace.kinds)
    for kind, layers in trace.kinds.items():
        labels = day_labels(kind)
        for number, layer in enumerate(layers):
            carried = mean_norm_map(layer)
            mask = capture.mask(kind, number, sample=sample)
            summary = summarize_flow_map(carried, layer.weights.mean(dim=0), mask)
            named = [_fitting(dates, length) for length in carried.shape]
            axes: dict[str, Any] = dict(
                zip(("query_label", "key_label", "query_dates", "key_dates"), (*labels, *named), strict=True)
            )
            title = f"{kind_title(kind)}, layer {number}: norm of weighted values"
            draw = partial(
                attention_plots.plot_attention_heatmap, carried, title=title, value="norm", mask=mask, **axes
            )
            pictures.append(_Picture(f"{stems[kind]}_layer{number}_carried", draw, summary.verdict))
    return _Section("What attention carries", "", pictures, numbers)


def _importance_section(model: nn.Module, inputs: Sequence[Tensor], trace: Trace) -> _Section:
    heads = head_importance(model, *inputs, trace=trace)
    effects = attention_effects(model, *inputs, target=trace.target)
    summaries = summarize_effects(effects, trace.value), summarize_head_importance(heads)
    stems = _stems(trace.kinds)
    pictures = [_Picture("attention_effects", partial(flow_plots.plot_attention_effects, effects))]
    for kind, layers in trace.kinds.items():
        for layer in range(len(layers)):
            rows = heads[(heads["kind"] == kind) & (heads["layer"] == layer)]
            title = f"{kind_title(kind)}, layer {layer}: importance by head"
            name = f"{stems[kind]}_layer{layer}_importance"
            pictures.append(_Picture(name, partial(flow_plots.plot_head_importance, rows, title=title)))
    numbers = _one_table(summaries[0], "Effect of attention") | _one_table(summaries[1], "Heads")
    verdict = " ".join(summary.verdict for summary in summaries)
    return _Section("What the prediction depends on", verdict, pictures, numbers)


def _faithfulness_section(model: nn.Module, inputs: Inputs, by_day: bool) -> _Section:
    pictures: list[_Picture] = []
    numbers: dict[str, dict[str, Summary]] = {}
    rankings = {"Features by day": CELL_RANKINGS} | ({"Days": DAY_RANKINGS} if by_day else {})
    for what, each in rankings.items():
        result = run_to_end(faithfulness_steps(model, [inputs], each), "", progress=False)
        summary = summarize_faithfulness(result)
        draw = partial(flow_plots.plot_faithfulness, result, title=f"{what}: deletion and insertion")
        pictures.append(_Picture(f"faithfulness_{result.unit}", draw, summary.verdict))
        numbers |= _one_table(summary, what)
    return _Section("How far to trust it", "", pictures, numbers)


def _stems(kinds: Iterable[str]) -> dict[str, str]:
    """The start of each kind's file names. Kinds of other models are module paths, which may hold any character."""
    stems: dict[str, str] = {}
    taken = {"gate"}
    for kind in kinds:
        name = re.sub("[^A-Za-z0-9_-]+", "_", kind)[:_LONGEST_STEM].strip("_") or "attention"
        names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
        stems[kind] = next(one for one in names if one.lower() not in taken)  # some file systems ignore case
        taken.add(stems[kind].lower())
    return stems


def _sentences(*parts: str) -> str:
    """Sentences one after the other."""
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)


def _fitting(dates: Sequence[Any] | None, days: int) -> Sequence[Any] | None:
    return dates if dates is not None and len(dates) == days else None


def _names(dates: Sequence[Any] | None, days: int) -> list[str] | None:
    """Dates as text, if there are as many as days."""
    fitting = _fitting(dates, days)
    return None if fitting is None else [str(date)[:10] for date in fitting]


def _one_table(summary: Summary, caption: str = "Numbers") -> dict[str, dict[str, Summary]]:
    return {caption: {"value": summary}}


def _by_layer(summaries: Sequence[Summary]) -> dict[str, Summary]:
    return {f"layer {layer}": summary for layer, summary in enumerate(summaries)}


def _page(model: nn.Module, sections: Sequence[_Section], drawn: Mapping[str, bytes], title: str) -> str:
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(type(model).__name__)}, stockformer {__version__}</p>",
    ]
    body += [_contents(sections)]
    for number, section in enumerate(sections):
        body.append(f'<h2 id="{_anchor(number)}">{html.escape(section.title)}</h2>')
        body.append(f"<p>{html.escape(section.verdict)}</p>")
        body += [_figure(picture, drawn[picture.name]) for picture in section.pictures]
        body += [_table(caption, columns) for caption, columns in section.numbers.items()]
    return _PAGE.format(title=html.escape(title), body="\n".join(body))


def _contents(sections: Sequence[_Section]) -> str:
    """Links to the sections, each with what it says."""
    lines = [
        f'<li><a href="#{_anchor(number)}">{html.escape(section.title)}</a> {html.escape(section.summary)}</li>'
        for number, section in enumerate(sections)
    ]
    return f'<nav aria-label="Contents"><ul>{"".join(lines)}</ul></nav>'


def _anchor(number: int) -> str:
    return f"section-{number}"


def _figure(picture: _Picture, drawn: bytes) -> str:
    data = base64.b64encode(drawn).decode("ascii")
    label = html.escape(picture.name.replace("_", " "))
    return (
        f'<figure><img alt="{label}" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(picture.verdict)}</figcaption></figure>"
    )


def _table(caption: str, columns: Mapping[str, Summary]) -> str:
    """Findings as rows: a value for each column, the formula and how to read it."""
    values = zip(*([_number(each.value) for each in summary.findings] for summary in columns.values()), strict=True)
    findings = next(iter(columns.values())).findings
    cells = [
        (finding.name.replace("_", " "), *row, finding.formula, finding.reading)
        for finding, row in zip(findings, values, strict=True)
    ]
    rows = [
        f'<th scope="row">{html.escape(name)}</th>' + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        for name, *row in cells
    ]
    names = "measure", *columns, "formula", "how to read it"
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div class="numbers"><table><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _number(value: float) -> str:
    """Three decimals, without zeros at the end."""
    text = f"{value:.3f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em; }}
h2 {{ margin-top: 2.5em; border-bottom: 1px solid; }}
a {{ color: inherit; }}
figure {{ margin: 1.5em 0; }}
img {{ max-width: 100%; background: white; }}
.numbers {{ overflow-x: auto; margin: 1.5em 0; }}
table {{ border-collapse: collapse; font-size: 13px; }}
caption {{ text-align: left; font-weight: 600; }}
th, td {{ padding: 2px 10px; text-align: right; vertical-align: top; font-variant-numeric: tabular-nums; }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; }}
th {{ white-space: nowrap; }}
tbody th {{ font-weight: 400; }}
th:nth-last-child(-n+2), td:nth-last-child(-n+2) {{ text-align: left; min-width: 8em; }}
tbody tr {{ border-top: 1px solid color-mix(in srgb, currentcolor 20%, transparent); }}
</style>
<main>
{body}
</main>
</html>
"""
