"""The scalar of a model's output that is explained: one number per sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from stockformer.forward import in_eval_mode, without_gradients
from stockformer.model import Forecaster


@dataclass(frozen=True)
class Target:
    """One number per sample, computed from a model's outputs by calling it with them.

    Attributes:
        kind: ``value`` takes outputs [B] as they are, ``logit`` one column,
            ``margin`` one of two columns minus the other, ``rank`` the expected
            rank ``sum_k sigmoid(z_k)`` of a CORAL model, 0 to K - 1.
        column: of ``logit`` and ``margin``.
        sign: -1 for the negative of the number, so that evidence against it counts as evidence for this target.
    """

    kind: str
    column: int | None = None
    sign: int = 1

    def __call__(self, outputs: Tensor) -> Tensor:
        """[B] or [B, columns] -> [B]."""
        return self.sign * self._of(outputs)

    def turned(self) -> Target:
        """The negative of this target."""
        return replace(self, sign=-self.sign)

    def _of(self, outputs: Tensor) -> Tensor:
        if self.kind == "value":
            return outputs
        if self.kind == "rank":
            return outputs.sigmoid().sum(dim=1)
        column = outputs[:, self.column]
        return column - outputs[:, 1 - (self.column or 0)] if self.kind == "margin" else column


def choose_target(model: nn.Module, output: Tensor, column: int | None = None) -> Target:
    """The target that explains a sample's output.

    The value of a regression; the margin of a binary class over the other; the
    logit of a bucket; the expected rank of a CORAL model, or with a column the
    logit of P(class > column); one output of another model.

    Args:
        output: the sample's, [1] or [1, columns].
        column: a column of the output; by default the one with the largest value.

    Raises:
        TypeError: the output is not such a tensor.
        ValueError: there is no such column.
    """
    if not isinstance(output, Tensor) or output.dim() not in (1, 2):
        form = list(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise TypeError(
            f"{type(model).__name__} returned {form}, expected a tensor [B] or [B, outputs]: "
            "wrap the model in a module that returns the numbers to explain"
        )
    if not len(output):
        raise ValueError("expected one sample, found an output of 0")
    if output.dim() == 1:
        if column not in (None, 0):
            raise ValueError(f"target is {column}, but the model returns a single value")
        return Target("value")
    columns = output.size(1)
    if column is not None and not 0 <= column < columns:
        raise ValueError(f"target is {column}, expected 0 to {columns - 1} for an output of {columns}")
    kind = _kind(model, column)
    if kind == "rank":
        return Target(kind)
    return Target(kind, int(output[0].argmax()) if column is None else column)


def explained(
    model: nn.Module, *inputs: Tensor, column: int | None = None, target: Target | None = None
) -> tuple[Target, float]:
    """Run a model on one sample in eval mode: its target, by default that of `choose_target`, and the value of that."""
    with without_gradients():
        output = in_eval_mode(model)(*inputs)
        target = choose_target(model, output, column) if target is None else target
        return target, float(only_value(target, output))


def only_value(target: Target, output: Tensor) -> Tensor:
    """The value of the target for an output of one sample.

    Raises:
        ValueError: the output is of no sample, or of several.
    """
    values = target(output)
    if len(values) != 1:
        raise ValueError(f"expected one sample, found an output of {len(values)}")
    return values[0]


def targets_of(model: nn.Module, outputs: Tensor) -> Tensor:
    """Values of the default target of `choose_target` for every sample of a batch: [B] or [B, columns] -> [B]."""
    if outputs.dim() == 1:
        return outputs
    kind = _kind(model, None)
    if kind == "rank":
        return Target(kind)(outputs)
    return outputs.amax(dim=1) - (outputs.amin(dim=1) if kind == "margin" else 0.0)


def _kind(model: nn.Module, column: int | None) -> str:
    """Kind of target for an output with several columns."""
    if not isinstance(model, Forecaster):
        return "logit"
    if model.use_coral and column is None:
        return "rank"
    return "margin" if model.label_mode == "binary" else "logit"
