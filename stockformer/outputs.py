"""What a model's outputs mean, how confident it is, and whether that is deserved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from stockformer.dataset import StockDataset
from stockformer.forward import in_eval_mode, without_gradients
from stockformer.inputs import Inputs
from stockformer.model import Forecaster, as_forecaster
from stockformer.threads import few_threads
from stockformer.uncertainty.calibration import Calibration, calibrate
from stockformer.workers import Engine, run_in_order


def class_names(model: Forecaster, edges: Sequence[float] = ()) -> list[str]:
    """Names of a model's classes; none for a regression.

    Args:
        edges: edges of the buckets, returns in percent, where they are known.
    """
    if model.label_mode == "regression":
        return []
    if model.label_mode == "binary":
        return ["DOWN", "UP"]
    if not edges:
        return [f"class {k}" for k in range(model.num_buckets)]
    texts = [f"{edge:g} %" for edge in edges]
    return [f"below {texts[0]}", *(f"{low} to {high}" for low, high in pairwise(texts)), f"{texts[-1]} or more"]


@dataclass(frozen=True)
class OutputDistribution:
    """A model's outputs over many samples.

    Attributes:
        outputs: raw, [n] for a regression, else logits [n, columns].
        probabilities: per class [n, K]; None for a regression.
        above: CORAL's P(class > k) [n, K-1]; None for others.
        labels: [n], or None where not known.
        assumption: the guesses behind the labels, in words; see `StockDataset.assumption`.
        dates: of each sample's last day, [n], or None where not known.
    """

    outputs: Tensor
    probabilities: Tensor | None
    above: Tensor | None = None
    labels: Tensor | None = None
    assumption: str = ""
    dates: pd.DatetimeIndex | None = None

    @property
    def predictions(self) -> Tensor:
        """The value of a regression, else the predicted class: [n].

        For CORAL the number of thresholds that are passed, ``sum_k [P(class > k) > 0.5]``
        (Cao et al. 2020), else the most probable class.
        """
        if self.probabilities is None:
            return self.outputs
        return self.probabilities.argmax(dim=-1) if self.above is None else (self.above > 0.5).sum(dim=-1)

    @property
    def confidence(self) -> Tensor:
        """Probability of the predicted class: [n]. The predicted class of a CORAL model need not be the likeliest."""
        return self._classes().gather(1, self.predictions.unsqueeze(1)).squeeze(1)

    @property
    def entropy(self) -> Tensor:
        """Entropy of the class probabilities in nats: [n]; at most log K."""
        terms: Tensor = torch.special.entr(self._classes())
        return terms.sum(dim=-1)

    @property
    def scores(self) -> Tensor:
        """One number per sample that orders predictions from low to high: the value, or the expected class: [n]."""
        if self.probabilities is None:
            return self.outputs
        classes = torch.arange(self.probabilities.size(1), dtype=self.probabilities.dtype)
        return self.probabilities @ classes

    @property
    def errors(self) -> Tensor:
        """How far off each sample is: 1 - probability of its true class, or |value - label|: [n].

        Raises:
            ValueError: the labels are not known.
        """
        if self.labels is None:
            raise ValueError("errors need labels, and these samples have none")
        if self.probabilities is None:
            return (self.outputs - self.labels).abs()
        return 1 - self.probabilities.gather(1, self.labels.long().unsqueeze(1)).squeeze(1)

    @property
    def predicted_counts(self) -> Tensor:
        """How often each class is predicted: [K]."""
        return torch.bincount(self.predictions, minlength=self._classes().size(1))

    @property
    def monotonicity_violations(self) -> Tensor:
        """CORAL samples whose P(class > k) grows with k somewhere: [n], booleans."""
        if self.above is None:
            raise ValueError("only a CORAL model has cumulative probabilities")
        return (self.above.diff(dim=-1) > 0).any(dim=-1)

    def calibration(self, **options: Any) -> Calibration:
        """`calibrate` the predicted classes, by day. Those of a CORAL model need not be the most probable ones.

        Args:
            options: of `calibrate`.

        Raises:
            ValueError: the labels are not known, or it is a regression.
        """
        if self.labels is None:
            raise ValueError("calibration needs labels, and these samples have none")
        labels, predictions = self.labels.long(), self.predictions
        return calibrate(self._classes(), labels, predictions=predictions, days=self.dates, **options)

    def to_frame(self) -> pd.DataFrame:
        """One row per sample: prediction, and for classes probabilities, confidence and entropy."""
        columns: dict[str, np.ndarray] = {"prediction": self.predictions.numpy()}
        if self.probabilities is not None:
            columns |= {f"p_{k}": column.numpy() for k, column in enumerate(self.probabilities.T)}
            columns |= {"confidence": self.confidence.numpy(), "entropy": self.entropy.numpy()}
        if self.above is not None:
            columns |= {f"p_above_{k}": column.numpy() for k, column in enumerate(self.above.T)}
            columns["monotonicity_violation"] = self.monotonicity_violations.numpy()
        if self.labels is not None:
            columns["label"] = self.labels.numpy()
        return pd.DataFrame(columns)

    def _classes(self) -> Tensor:
        if self.probabilities is None:
            raise ValueError("a regression has no class probabilities")
        return self.probabilities


def class_probabilities(logits: Tensor, *, coral: bool = False) -> Tensor:
    """Class probabilities [B, K] from logits.

    Args:
        logits: [B, K], or with `coral` the K-1 logits of P(class > k) [B, K-1].
        coral: P(class = k) = P(class > k-1) - P(class > k) (Cao et al. 2020). Where P(class > k) grows with k,
            which no distribution allows, they are sorted (rearrangement: Chernozhukov et al. 2010). As many are
            above 0.5 as before, so the predicted class stays the same.

    Returns:
        [B, K], none below 0, rows sum to 1.
    """
    if not coral:
        return logits.softmax(dim=-1)
    above = logits.sigmoid().sort(dim=-1, descending=True).values
    ones, zeros = above.new_ones(len(above), 1), above.new_zeros(len(above), 1)
    cumulative = torch.cat([ones, above, zeros], dim=1)
    return cumulative[:, :-1] - cumulative[:, 1:]


def analyze_output_distribution(
    model: nn.Module,
    dataset: StockDataset,
    indices: Sequence[int] | None = None,
    *,
    batch_size: int = 64,
    engine: Engine = None,
    progress: bool = True,
) -> OutputDistribution:
    """Run a model over samples of a dataset, in batches, in eval mode.

    Args:
        indices: which samples; all of them by default.
        engine: what runs the model, see `stockformer.workers.run_chunks`.
        progress: show a progress bar.

    Raises:
        ValueError: there is no sample to run.
    """
    samples = len(dataset) if indices is None else len(indices)
    batches = output_batches(model, dataset, indices, batch_size, engine)
    total = math.ceil(samples / batch_size)
    outputs, labels = zip(*tqdm(batches, total=total, desc="outputs", unit="batch", disable=not progress), strict=True)
    dates = dataset.end_dates if indices is None else dataset.end_dates[[int(index) for index in indices]]
    known = None if dataset.horizon is None else torch.cat(labels)
    distribution = describe_outputs(torch.cat(outputs), model, known, assumption=dataset.assumption)
    return replace(distribution, dates=dates)


def output_batches(
    model: nn.Module,
    dataset: StockDataset,
    indices: Sequence[int] | None = None,
    batch_size: int = 64,
    engine: Engine = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Raw outputs and labels of samples of a dataset, batch by batch.

    The model is in eval mode, and gradients are off, only while a batch runs, so
    that the caller may stop, or use the model, between batches.

    Args:
        indices: which samples; all of them by default.
        engine: what runs the model, see `stockformer.workers.run_chunks`.

    Returns:
        Outputs [batch] or [batch, columns] in float32 on the CPU, and labels [batch], NaN without a target.

    Raises:
        ValueError: there is no sample to run.
    """
    chosen = np.arange(len(dataset)) if indices is None else np.array([int(index) for index in indices], dtype=int)
    if not len(chosen):
        raise ValueError("no samples to analyse: indices is empty")
    batches = np.split(chosen, range(batch_size, len(chosen), batch_size))
    outputs = run_in_order(outputs_of, model, lambda place: dataset.inputs(batches[place]), len(batches), engine)
    return zip(outputs, (dataset.labels[dataset.ends[batch]] for batch in batches), strict=True)


def outputs_of(model: nn.Module, inputs: Inputs) -> Tensor:
    """Raw outputs of a batch of windows, in eval mode, in float32 on the CPU: [B] or [B, columns]."""
    like = next(model.parameters())  # its device and precision
    with few_threads(model), without_gradients():
        output: Tensor = in_eval_mode(model)(*(part.to(like) for part in inputs))
    return output.float().cpu()


def describe_outputs(
    outputs: Tensor,
    model: nn.Module,
    labels: Tensor | None = None,
    *,
    assumption: str = "",
) -> OutputDistribution:
    """Interpret raw outputs by the label mode of `model`; `labels` and `assumption` are kept beside them.

    Raises:
        TypeError: the model is not a `Forecaster`.
        ValueError: the outputs do not have the shape of its label mode.
    """
    known = as_forecaster(model)
    columns = {"regression": (), "binary": (2,), "buckets": (known.num_buckets - known.use_coral,)}
    if known.label_mode not in columns:
        raise ValueError(f"label_mode is {known.label_mode!r}, expected one of {', '.join(columns)}")
    if outputs.shape[1:] != columns[known.label_mode]:
        shape, expected = (", ".join(map(str, ["B", *form])) for form in (outputs.shape[1:], columns[known.label_mode]))
        raise ValueError(f"{type(model).__name__} returned [{shape}], expected [{expected}] for {known.label_mode}")
    if known.label_mode == "regression":
        return OutputDistribution(outputs, None, labels=labels, assumption=assumption)
    probabilities = class_probabilities(outputs, coral=known.use_coral)
    above = outputs.sigmoid() if known.use_coral else None
    return OutputDistribution(outputs, probabilities, above, labels, assumption)
