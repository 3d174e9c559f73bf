"""What a report says on one sample: figures, sentences and numbers by subject."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from stockformer.charts.figures import day_labels
from stockformer.explainability.attention.ablation import attention_effects, head_importance
from stockformer.explainability.attention.capture import Capture, capture_attention, kind_title
from stockformer.explainability.attention.flow import has_inflow, joint_rollout, market_entry, mean_norm_map, relevance
from stockformer.explainability.attention.trace import Trace, trace_attention
from stockformer.explainability.attribution.attribute import attribute, can_attribute
from stockformer.explainability.faithfulness.curves import faithfulness_steps
from stockformer.explainability.faithfulness.rankings import CELL_RANKINGS, DAY_RANKINGS
from stockformer.explainability.sentences.attention import summarize_gate, summarize_map, summarize_pooling
from stockformer.explainability.sentences.flow import (
    summarize_days,
    summarize_effects,
    summarize_entry,
    summarize_faithfulness,
    summarize_flow_map,
    summarize_head_importance,
)
from stockformer.explainability.sentences.heads_and_layers import summarize_heads, summarize_layers
from stockformer.explainability.sentences.inputs import summarize_prices, summarize_saliency
from stockformer.explainability.sentences.outputs import summarize_outputs
from stockformer.explainability.sentences.summary import Summary
from stockformer.inputs import Inputs
from stockformer.model import Forecaster
from stockformer.outputs import class_names, describe_outputs
from stockformer.plots import attention as attention_plots
from stockformer.plots import flow as flow_plots
from stockformer.plots import inputs as input_plots
from stockformer.plots import outputs as output_plots
from stockformer.steps import run_to_end
from stockformer.target_column import TargetColumn

_LONGEST_STEM = 80  # characters


@dataclass(frozen=True)
class Subject:
    """What a report is about: a sample of a batch, and what is known of it. See `generate_report`.

    Raises:
        ValueError: names or dates that do not fit the inputs, or no such sample.
    """

    inputs: Sequence[Tensor]
    input_names: Sequence[str] | None = None
    feature_names: Sequence[Sequence[str]] | None = None
    sample: int = 0
    dates: Sequence[Any] | None = None
    prices: pd.DataFrame | None = None
    label: float | None = None
    assumption: str = ""
    target: TargetColumn | None = None
    means: Sequence[Tensor] | None = None
    title: str = "Attention report"

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ValueError("a report needs at least one input, found none")
        batch = len(self.inputs[0])
        if not 0 <= self.sample < batch:
            raise ValueError(f"sample is {self.sample}, expected 0 to {batch - 1} for a batch of {batch}")
        for argument in ("input_names", "feature_names"):
            entries = getattr(self, argument)
            if entries is not None and len(entries) != len(self.inputs):
                raise ValueError(f"{argument} has {len(entries)} entries for {len(self.inputs)} inputs")
        for number, (names, part) in enumerate(zip(self.feature_names or (), self.inputs, strict=False)):
            if len(names) != part.size(-1):
                raise ValueError(f"feature_names[{number}] has {len(names)} names for {part.size(-1)} features")
        if self.dates is not None and len(self.dates) != (days := self.inputs[0].size(1)):
            raise ValueError(f"there are {len(self.dates)} dates for {days} days")

    def days(self, length: int) -> Sequence[Any] | None:
        """The dates, of an axis that has as many days."""
        return self.dates if self.dates is not None and len(self.dates) == length else None

    def day_names(self, length: int) -> list[str] | None:
        """The dates as text, of an axis that has as many days."""
        days = self.days(length)
        return None if days is None else [str(date)[:10] for date in days]


@dataclass(frozen=True)
class Picture:
    """A figure: the name of its file, how to draw it, and a sentence on it."""

    name: str
    plot: Callable[[], Figure]
    verdict: str = ""


@dataclass(frozen=True)
class Section:
    """Figures on one subject, a sentence on them, and tables: caption -> column -> the summary in it."""

    title: str
    verdict: str
    pictures: list[Picture]
    numbers: Mapping[str, Mapping[str, Summary]]

    @property
    def summary(self) -> str:
        """What it says, or what its first picture with a sentence does."""
        return next(filter(None, [self.verdict, *(picture.verdict for picture in self.pictures)]), "")


def sections_on(model: nn.Module, subject: Subject) -> list[Section]:
    """The sections of a report on a sample, without those that the model has nothing for.

    Raises:
        ValueError: a model without attention.
    """
    capture = capture_attention(model, *subject.inputs)
    return [
        *_price_sections(subject),
        *_output_sections(model, capture, subject),
        *(_attention_section(capture, kind, subject) for kind in capture.kinds),
        *_gate_sections(capture, subject),
        *_pooling_sections(capture, subject),
        *_explained_sections(model, capture, subject),
    ]


def _price_sections(subject: Subject) -> Iterator[Section]:
    if subject.prices is not None:
        summary = summarize_prices(subject.prices)
        picture = Picture("price", partial(input_plots.plot_prices, subject.prices))
        yield Section("Price", summary.verdict, [picture], _one_table(summary))


def _output_sections(model: nn.Module, capture: Capture, subject: Subject) -> Iterator[Section]:
    if isinstance(model, Forecaster):
        truth = None if subject.label is None else torch.tensor([subject.label])
        predicted = capture.output[subject.sample : subject.sample + 1].float()
        output = describe_outputs(predicted, model, truth, assumption=subject.assumption)
        names = class_names(model) or None
        summary = summarize_outputs(output, names, subject.target)
        draw = partial(output_plots.plot_prediction, output, class_names=names, target=subject.target)
        yield Section("Output", summary.verdict, [Picture("prediction", draw)], _one_table(summary))


def _attention_section(capture: Capture, kind: str, subject: Subject) -> Section:
    attn, sample = capture.to_dict(), subject.sample
    layers = [weights[sample].float() for weights in capture.kinds[kind]]
    masks = [capture.layer_mask(kind, layer, sample) for layer in range(len(layers))]
    mean_masks = [capture.mask(kind, layer, sample=sample) for layer in range(len(layers))]
    maps = [
        summarize_map(weights.mean(dim=0), mask, subject.day_names(weights.size(-1)))
        for weights, mask in zip(layers, mean_masks, strict=True)
    ]
    heads = [summarize_heads(weights, mask) for weights, mask in zip(layers, masks, strict=True)]
    depth = summarize_layers(layers, masks)
    stem = _stems(capture.kinds)[kind]
    pictures = [Picture(f"{stem}_evolution", partial(attention_plots.plot_layer_evolution, attn, kind, sample=sample))]
    for layer, weights in enumerate(layers):
        name, title = f"{stem}_layer{layer}", f"{kind_title(kind)}, layer {layer}"
        axes = _axes(kind, weights.shape[1:], subject)
        mean = partial(attention_plots.plot_attention_heatmap, weights.mean(dim=0), mask=mean_masks[layer], **axes)
        caveats = capture.caveats_of(kind, layer)
        pictures += [
            Picture(
                name,
                partial(mean, title=f"{title}, mean of {len(weights)} heads"),
                _sentences(*caveats, maps[layer].verdict),
            ),
            Picture(
                f"{name}_heads",
                partial(attention_plots.plot_attention_all_heads, weights, mask=masks[layer], title=title, **axes),
                _sentences(*caveats),
            ),
            Picture(
                f"{name}_specialization",
                partial(
                    attention_plots.plot_head_specialization,
                    attn,
                    layer,
                    kind,
                    sample=sample,
                    dates=axes["key_dates"],
                ),
                _sentences(*caveats, heads[layer].verdict),
            ),
        ]
    numbers = {
        "Maps, mean of the heads": _by_layer(maps),
        "Heads": _by_layer(heads),
    } | _one_table(depth, "From the first layer to the last")
    return Section(kind_title(kind), _sentences(*capture.caveats_of(kind), depth.verdict), pictures, numbers)


def _gate_sections(capture: Capture, subject: Subject) -> Iterator[Section]:
    if capture.gates:
        where: dict[str, Any] = {"attn": capture.to_dict(), "sample": subject.sample, "dates": subject.dates}
        summaries = [summarize_gate(gate[subject.sample]) for gate in capture.gates.values()]
        pictures = [
            Picture("gate_timeseries", partial(attention_plots.plot_gate_timeseries, **where)),
            *(
                Picture(
                    f"gate_layer{layer}",
                    partial(attention_plots.plot_gate_activations, **where, layer=layer),
                    summary.verdict,
                )
                for layer, summary in enumerate(summaries)
            ),
        ]
        yield Section("Gates", "", pictures, {"Numbers": _by_layer(summaries)})


def _pooling_sections(capture: Capture, subject: Subject) -> Iterator[Section]:
    if capture.pooling is not None:
        weights = capture.pooling[subject.sample]
        summary = summarize_pooling(weights, subject.day_names(len(weights)))
        draw = partial(
            attention_plots.plot_attention_pooling, capture.to_dict(), sample=subject.sample, dates=subject.dates
        )
        yield Section("Attention pooling", summary.verdict, [Picture("pooling", draw)], _one_table(summary))


def _explained_sections(model: nn.Module, capture: Capture, subject: Subject) -> Iterator[Section]:
    if not can_attribute(subject.inputs, capture.output):
        return
    chosen = Inputs((part[subject.sample : subject.sample + 1] for part in subject.inputs), subject.means)

    def carried() -> Iterator[Section]:
        trace = trace_attention(model, *chosen)
        yield _carried_section(trace, capture, subject)
        yield _importance_section(model, chosen, trace)

    def attribution() -> Iterator[Section]:
        yield _attribution_section(model, chosen, subject)

    def faithfulness() -> Iterator[Section]:
        yield _faithfulness_section(model, chosen)

    for title, sections in (
        ("Input attribution", attribution),
        ("Attention flow", carried),
        ("Faithfulness", faithfulness),
    ):
        try:
            yield from sections()
        except ValueError as error:
            yield Section(title, f"Left out: {error}.", [], {})


def _attribution_section(model: nn.Module, inputs: Inputs, subject: Subject) -> Section:
    attribution = attribute(model, *inputs, baselines=inputs.baseline)
    parts = [part.float() for part in attribution.parts]
    names = list(subject.input_names or (f"Input {number}" for number in range(len(parts))))
    features = list(subject.feature_names) if subject.feature_names is not None else [None] * len(parts)
    pictures = []
    if len(parts) <= 2:
        named: dict[str, Any] = dict(zip(("stock_feature_names", "market_feature_names"), features, strict=False))
        draw = partial(input_plots.plot_saliency_summary, *parts, **named, stream_names=names)
        pictures.append(Picture("saliency_summary", draw))
    for number, (name, part) in enumerate(zip(names, parts, strict=True)):
        draw = partial(
            input_plots.plot_saliency_map, part, features[number], signed=True, dates=subject.days(len(part))
        )
        pictures.append(Picture(f"saliency_{number}", partial(draw, title=f"{name}: attribution by day")))
    summary = summarize_saliency(parts)
    method = attribution.method.replace("_", " ")
    sums = f"They sum to the target's change (error {abs(attribution.completeness_error or 0.0):.1g})"
    words = attribution.caveat or sums
    verdict = f"By {method}. {words[0].upper()}{words[1:]}. {summary.verdict}"
    return Section("Input attribution", verdict, pictures, _one_table(summary))


def _carried_section(trace: Trace, capture: Capture, subject: Subject) -> Section:
    pictures: list[Picture] = []
    numbers: dict[str, dict[str, Summary]] = {}
    if trace.pooling is not None:
        for name, flow in (("rollout", joint_rollout(trace)), ("relevance", relevance(trace))):
            summary = summarize_days(flow.days)
            title = f"Contribution to the prediction by day: {name}"
            days = subject.days(max(map(len, flow.days)))
            draw = partial(flow_plots.plot_day_scores, flow.days, title=title, dates=days)
            pictures.append(Picture(f"days_{name}", draw, summary.verdict))
            numbers |= _one_table(summary, f"Days by {name}")
    gates = [layer.gate for layer in trace.kinds.get("cross", []) if layer.gate is not None]
    if gates:
        entries = market_entry(trace)
        summary = summarize_entry(entries, gates)
        draw = partial(flow_plots.plot_market_entry, entries, gates, dates=subject.dates)
        pictures.append(Picture("market_entry", draw, summary.verdict))
        numbers |= _one_table(summary, "Market contribution")
    stems = _stems(trace.kinds)
    for kind, layers in trace.kinds.items():
        for number, layer in enumerate(layers):
            carried = mean_norm_map(layer)
            mask = capture.mask(kind, number, sample=subject.sample)
            summary = summarize_flow_map(carried, layer.weights.mean(dim=0), mask)
            title = f"{kind_title(kind)}, layer {number}: norm of weighted values"
            look: dict[str, Any] = {"title": title, "value": "norm", "mask": mask}
            draw = partial(
                attention_plots.plot_attention_heatmap, carried, **look, **_axes(kind, carried.shape, subject)
            )
            pictures.append(Picture(f"{stems[kind]}_layer{number}_carried", draw, summary.verdict))
    return Section("Attention flow", "", pictures, numbers)


def _importance_section(model: nn.Module, inputs: Inputs, trace: Trace) -> Section:
    heads = head_importance(model, *inputs, trace=trace)
    effects = attention_effects(model, *inputs, target=trace.target)
    summaries = summarize_effects(effects, trace.value), summarize_head_importance(heads)
    stems = _stems(trace.kinds)
    pictures = [Picture("attention_effects", partial(flow_plots.plot_attention_effects, effects))]
    for kind, layers in trace.kinds.items():
        for layer in range(len(layers)):
            rows = heads[(heads["kind"] == kind) & (heads["layer"] == layer)]
            title = f"{kind_title(kind)}, layer {layer}: importance by head"
            name = f"{stems[kind]}_layer{layer}_importance"
            pictures.append(Picture(name, partial(flow_plots.plot_head_importance, rows, title=title)))
    numbers = _one_table(summaries[0], "Effect of attention") | _one_table(summaries[1], "Heads")
    verdict = " ".join(summary.verdict for summary in summaries)
    return Section("Effect of attention and heads", verdict, pictures, numbers)


def _faithfulness_section(model: nn.Module, inputs: Inputs) -> Section:
    pictures: list[Picture] = []
    numbers: dict[str, dict[str, Summary]] = {}
    rankings = {"Features by day": CELL_RANKINGS} | ({"Days": DAY_RANKINGS} if has_inflow(model) else {})
    for what, each in rankings.items():
        result = run_to_end(faithfulness_steps(model, [inputs], each), "", progress=False)
        summary = summarize_faithfulness(result)
        draw = partial(flow_plots.plot_faithfulness, result, title=f"{what}: deletion and insertion")
        pictures.append(Picture(f"faithfulness_{result.unit}", draw, summary.verdict))
        numbers |= _one_table(summary, what)
    return Section("Faithfulness", "", pictures, numbers)


def _axes(kind: str, shape: Sequence[int], subject: Subject) -> dict[str, Any]:
    """Names and dates of the axes of a map [queries, keys], as `plot_attention_heatmap` takes them."""
    query, key = day_labels(kind)
    queries, keys = (subject.days(length) for length in shape)
    return {"query_label": query, "key_label": key, "query_dates": queries, "key_dates": keys}


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


def _one_table(summary: Summary, caption: str = "Numbers") -> dict[str, dict[str, Summary]]:
    return {caption: {"value": summary}}


def _by_layer(summaries: Sequence[Summary]) -> dict[str, Summary]:
    return {f"layer {layer}": summary for layer, summary in enumerate(summaries)}
