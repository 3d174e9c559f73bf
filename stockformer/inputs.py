"""The inputs of a model, with the training means that explanations measure them from."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

#: The attribute of a tensor of `Inputs` that holds its training mean.
_MEAN = "_training_mean"


class Inputs(tuple[Tensor, ...]):
    """The inputs of one sample, each [1, T, features], or of several: a tuple that knows its training means.

    Its tensors know them too, so that ``f(model, *inputs)`` can start from them; tensors that are computed from these,
    and those of ``dataset[i]``, do not.

    Attributes:
        baseline: the training mean of every cell, with the device, shape and dtype of its input.

    Args:
        parts: the inputs. `Inputs`, and their tensors, keep their baseline unless `means` are passed.
        means: the training means of every input's features, [features] or in the input's shape; by default 0, as for
            normalised features.
    """

    baseline: tuple[Tensor, ...]

    def __new__(cls, parts: Iterable[Tensor], means: Iterable[Tensor] | None = None) -> Inputs:
        if isinstance(parts, Inputs) and means is None:
            return parts
        if means is None:
            inputs = super().__new__(cls, parts)
            inputs.baseline = tuple(getattr(part, _MEAN, torch.zeros_like(part)) for part in inputs)
        else:
            inputs = super().__new__(cls, (part.view_as(part) for part in parts))  # the caller's own stay as they are
            inputs.baseline = tuple(mean.to(part).expand_as(part) for mean, part in zip(means, inputs, strict=True))
            for part, mean in zip(inputs, inputs.baseline, strict=True):
                setattr(part, _MEAN, mean)
        return inputs

    @property
    def distance(self) -> tuple[Tensor, ...]:
        """How far every cell is from its training mean, with its sign."""
        return tuple(part.detach() - mean for part, mean in zip(self, self.baseline, strict=True))

    def to(self, like: Tensor) -> Inputs:
        """The same inputs with the device and dtype of the tensor `like`."""
        return Inputs((part.to(like) for part in self), self.baseline)

    def windows(self, which: slice) -> Inputs:
        """Some windows of a batch."""
        return Inputs((part[which] for part in self), [mean[which] for mean in self.baseline])
