"""Everything about one sample on one page: figures, numbers, and what they mean."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm.auto import tqdm

from stockformer import __version__
from stockformer.explainability import plots
from stockformer.explainability.capture import Capture, capture_attention
from stockformer.explainability.outputs import describe_outputs
from stockformer.explainability.saliency import can_attribute, compute_input_saliency
from stockformer.explainability.statistics import MAP_STATISTICS, gate_statistics, map_statistics
from stockformer.model import CrossAttentionStockTransformer, StockTransformer

Plot = Callable[[], Figure]


def generate_report(
    model: nn.Module,
    *inputs: Tensor,
    output_dir: str | Path,
    input_names: Sequence[str] | None = None,
    feature_names: Sequence[Sequence[str]] | None = None,
    sample: int = 0,
    dates: Sequence[Any] | None = None,
    title: str = "Attention report",
) -> dict[str, Path]:
    """Write every figure as PNG, and ``report.html`` with all of them and the numbers.

    Args:
        model: any module that holds `nn.MultiheadAttention`, called as ``model(*inputs)``.
        inputs: each [B, T, features] for a stock transformer.
        output_dir: created where it does not exist.
        input_names: one a given input, such as ``["Stock", "Market"]``.
        feature_names: one list a given input.
        sample: which of the batch.
        dates: the T days of that sample.

    Returns:
        Name of the figure -> its file, and ``report`` -> the page, which needs
        no other file and no network.

    Raises:
        ValueError: names or dates that do not fit the inputs, no such sample, or
            a model without attention.
        OSError: the directory cannot be written.
    """
    _check(inputs, input_names, feature_names, sample, dates)
    names = list(input_names or (f"Input {number}" for number in range(len(inputs))))
    folder = _writable(Path(output_dir))
    shown = capture_attention(model, *inputs)
    saved: dict[str, Path] = {}
    figures = dict(_plots(shown, model, inputs, names, feature_names, sample, dates))
    for name, plot in tqdm(figures.items(), desc="report", unit="figure"):
        figure = plot()
        try:
            saved[name] = folder / f"{name}.png"
            figure.savefig(saved[name], dpi=110)
        finally:
            plt.close(figure)
    page = folder / "report.html"
    page.write_text(_page(model, shown, saved, title, sample), encoding="utf-8")
    return saved | {"report": page}


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
    for what, given in (("input_names", input_names), ("feature_names", feature_names)):
        if given is not None and len(given) != len(inputs):
            raise ValueError(f"{what} has {len(given)} entries for {len(inputs)} inputs")
    for number, (names, part) in enumerate(zip(feature_names or (), inputs, strict=False)):
        if len(names) != part.size(-1):
            raise ValueError(f"feature_names[{number}] has {len(names)} names for {part.size(-1)} features")
    if dates is not None and len(dates) != inputs[0].size(1):
        raise ValueError(f"there are {len(dates)} dates for {inputs[0].size(1)} days")


def _writable(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"cannot write into {folder}")
    return folder


def _plots(
    shown: Capture,
    model: nn.Module,
    inputs: Sequence[Tensor],
    input_names: Sequence[str],
    feature_names: Sequence[Sequence[str]] | None,
    sample: int,
    dates: Sequence[Any] | None,
) -> Iterator[tuple[str, Plot]]:
    """Name and drawing of every figure that the model has something for."""
    attn = shown.to_dict()
    for kind, layers in shown.kinds.items():
        stem = kind.replace("*", "").replace("..", ".").strip(".").replace(".", "_")
        for layer, weights in enumerate(layers):
            yield f"{stem}_layer{layer}", _map_plot(kind, layer, weights[sample].float(), dates)
            yield f"{stem}_layer{layer}_heads", _heads_plot(kind, layer, weights[sample].float())
            yield (
                f"{stem}_layer{layer}_specialization",
                partial(plots.plot_head_specialization, attn, layer, kind, sample=sample),
            )
        yield f"{stem}_evolution", partial(plots.plot_layer_evolution, attn, kind, sample=sample)
    for layer in range(len(shown.gates)):
        yield f"gate_layer{layer}", partial(plots.plot_gate_activations, attn, layer, sample=sample, dates=dates)
    if shown.gates:
        yield "gate_timeseries", partial(plots.plot_gate_timeseries, attn, sample=sample, dates=dates)
    if shown.pooling is not None:
        yield "pooling", partial(plots.plot_attention_pooling, attn, sample=sample, dates=dates)
    if can_attribute(inputs, shown.output):
        saliency = compute_input_saliency(model, *inputs, sample=sample)
        for number, (name, part) in enumerate(zip(input_names, saliency, strict=True)):
            features = None if feature_names is None else feature_names[number]
            days = dates if dates is not None and len(dates) == len(part) else None
            yield (
                f"saliency_{number}",
                partial(plots.plot_saliency_map, part, features, title=f"{name}: saliency by day", dates=days),
            )


def _map_plot(kind: str, layer: int, heads: Tensor, dates: Sequence[Any] | None) -> Plot:
    days = [dates if dates is not None and len(dates) == length else None for length in heads.shape[1:]]
    title = f"{plots.kind_title(kind)}, layer {layer}, mean of {len(heads)} heads"
    return partial(plots.plot_attention_heatmap, heads.mean(dim=0), title=title, query_dates=days[0], key_dates=days[1])


def _heads_plot(kind: str, layer: int, heads: Tensor) -> Plot:
    return partial(plots.plot_attention_all_heads, heads, title=f"{plots.kind_title(kind)}, layer {layer}")


def _page(model: nn.Module, shown: Capture, figures: Mapping[str, Path], title: str, sample: int) -> str:
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(type(model).__name__)}, stockformer {__version__}</p>",
    ]
    if isinstance(model, CrossAttentionStockTransformer | StockTransformer):
        output = describe_outputs(shown.output[sample : sample + 1].float(), model)
        sections += ["<h2>Output</h2>", _table(output.to_frame())]
    by_layer = map_statistics(shown, sample).drop(columns=["head", "peak"]).groupby(["kind", "layer"], sort=False)
    sections += ["<h2>Attention, mean of the heads</h2>", _table(by_layer.mean().reset_index()), _readings()]
    if shown.gates:
        sections += ["<h2>Gates</h2>", _table(gate_statistics(shown, sample)), f"<p>{_GATE_READING}</p>"]
    sections.append("<h2>Figures</h2>")
    sections += [_picture(name, path) for name, path in figures.items()]
    return _PAGE.format(title=html.escape(title), body="\n".join(sections))


def _table(frame: pd.DataFrame) -> str:
    return frame.to_html(index=False, border=0, float_format="{:.3f}".format, escape=True)


def _readings() -> str:
    rows = (
        f"<dt>{one.name} <small>({html.escape(one.formula)})</small></dt><dd>{html.escape(one.reading)}</dd>"
        for one in MAP_STATISTICS
    )
    return f"<dl>{''.join(rows)}<dt>redundancy</dt><dd>1: another head of the layer is the same.</dd></dl>"


def _picture(name: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    label = html.escape(name.replace("_", " "))
    return f'<figure><img alt="{label}" src="data:image/png;base64,{data}"><figcaption>{label}</figcaption></figure>'


_GATE_READING = (
    "A mean near 0 keeps the market out, near 1 lets all of its context in. A day_std near 0 means that the gate "
    "does not answer to the day."
)

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
th, td {{ padding: 2px 10px; text-align: right; font-variant-numeric: tabular-nums; }}
figure {{ margin: 1.5em 0; }}
img {{ max-width: 100%; background: white; }}
dt {{ font-weight: 600; }}
dd {{ margin: 0 0 .4em 1em; }}
</style>
{body}
</html>
"""
