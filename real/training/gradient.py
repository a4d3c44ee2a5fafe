"""The gradient of a step: over one minibatch or several, and what is wrong if there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from real.downsampling import Kept
from real.models import ModelError, check_outputs
from real.training.objective import Objective
from real.training.precision import Precision
from real.training.samples import Samples


class Network(NamedTuple):
    """A model and all that it takes to say what its loss is."""

    model: nn.Module
    forward: Callable[[Tensor], Tensor]
    """The model, compiled or not."""
    stepping: Callable[[Tensor], Tensor]
    """The same, to be called in a step: on several devices, going backward then brings all their gradients together."""
    num_outputs: int
    objective: Objective
    precision: Precision

    def outputs(self, inputs: Tensor) -> Tensor:
        """What the model says, in single precision. ModelError if it is of another shape than it should be."""
        return self._outputs(self.forward, inputs)

    def loss(self, inputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """The loss of some samples, ready to go backward for their gradient alone."""
        return self.objective.loss(self.outputs(inputs), targets, weights)

    def step_loss(self, inputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """The same, for the gradient of a step."""
        return self.objective.loss(self._outputs(self.stepping, inputs), targets, weights)

    def _outputs(self, forward: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        with self.precision.autocast():
            outputs = forward(inputs)
        check_outputs(outputs, len(inputs), self.num_outputs, self.model)
        return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs


class Fetched(NamedTuple):
    """A minibatch on the device."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None


def fetch(samples: Samples, minibatch: Kept) -> Fetched:
    """Bring a minibatch to the device."""
    return Fetched(
        samples.features_at(minibatch.chosen),
        samples.targets_at(minibatch.chosen),
        None if minibatch.weights is None else minibatch.weights.to(samples.device),
    )


def backward(network: Network, fetched: Fetched, factor: float, share: float, where: Callable[[], str]) -> Tensor:
    """Add the gradient of a minibatch, or of a rank's part of it, to that of its step; its loss.

    ModelError if it has no gradient, with the place that `where` says.

    A step's gradient is that of Σ weight · loss / Σ weight over all its samples. `share` is the minibatch's of that
    Σ weight, and `factor` as in `Part`: 1 if the minibatch is whole.
    """
    loss = network.step_loss(fetched.inputs, fetched.targets, fetched.weights)
    if not loss.requires_grad:
        raise ModelError(f"the gradient is empty {where()}: the loss depends on no parameter of {_name(network)}")
    part = loss if factor * share == 1.0 else loss * (factor * share)
    network.precision.scaler.scale(part).backward()  # type: ignore[no-untyped-call]  # torch has no types for it
    return loss.detach() if factor == 1.0 else loss.detach() * factor


def weight_of(minibatch: Kept) -> float:
    """Σ weight of its samples."""
    return float(len(minibatch.chosen)) if minibatch.weights is None else float(minibatch.weights.sum())


def check_first_gradient(network: Network, samples: Samples, step: Sequence[Kept], where: Callable[[], str]) -> None:
    """ModelError if the loss does not depend on the weights, with the place that `where` says.

    To be asked after the first step went backward. The samples of a step may pull in opposite directions and come to
    nothing, so if it has no gradient, that of a sample with the largest loss decides.
    """
    if any(each.grad is not None and bool(each.grad.any()) for each in network.model.parameters()):
        return
    network.model.eval()  # no dropout, so no draw; and nothing is learnt by layers that take averages
    chosen = torch.cat([each.chosen for each in step])
    with torch.no_grad():
        losses = network.objective.losses(network.outputs(samples.features_at(chosen)), samples.targets_at(chosen))
    largest = chosen[int(losses.argmax())].unsqueeze(0)
    loss = network.loss(samples.features_at(largest), samples.targets_at(largest), None)
    parameters = [each for each in network.model.parameters() if each.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    network.model.train()
    value = float(loss.detach())
    if value != 0.0 and not any(each is not None and bool(each.any()) for each in found):
        raise ModelError(
            f"the gradient is exactly 0 {where()}, though the loss of a sample is {value:g}: "
            f"no parameter of {_name(network)} can learn from it"
        )


def _name(network: Network) -> str:
    return f"model {type(network.model).__name__}"
