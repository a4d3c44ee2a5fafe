"""The gradient of a step: over one minibatch or several, and what is wrong if there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from real.models import ModelError, check_outputs
from real.training.fetching import Fetched
from real.training.objective import Objective
from real.training.precision import Precision


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


def backward(network: Network, fetched: Fetched, step_weight: float | None, where: Callable[[], str]) -> Tensor:
    """Add the gradient of a minibatch, or of a rank's part of it, to that of its step; its loss.

    ModelError if it has no gradient, with the place that `where` says.

    A step's gradient is that of Σ weight · loss / Σ weight over all its samples. `step_weight` is that Σ weight;
    None: the minibatch is the whole step.
    """
    loss = network.step_loss(fetched.inputs, fetched.targets, fetched.weights)
    if not loss.requires_grad:
        raise ModelError(f"the gradient is empty {where()}: the loss depends on no parameter of {_name(network)}")
    scale = fetched.factor if step_weight is None else fetched.factor * (fetched.weight / step_weight)
    part = loss if scale == 1.0 else loss * scale
    network.precision.scaler.scale(part).backward()  # type: ignore[no-untyped-call]  # torch has no types for it
    return loss.detach() if fetched.factor == 1.0 else loss.detach() * fetched.factor


def check_first_gradient(network: Network, step: Sequence[Fetched], where: Callable[[], str]) -> None:
    """ModelError if the loss does not depend on the weights, with the place that `where` says.

    To be asked after the first step went backward. The samples of a step may pull in opposite directions and come to
    nothing, so if it has no gradient, that of a sample with the largest loss decides.
    """
    if any(each.grad is not None and bool(each.grad.any()) for each in network.model.parameters()):
        return
    network.model.eval()  # no dropout, so no draw; and nothing is learnt by layers that take averages
    inputs, targets = torch.cat([each.inputs for each in step]), torch.cat([each.targets for each in step])
    with torch.no_grad():
        largest = int(network.objective.losses(network.outputs(inputs), targets).argmax())
    loss = network.loss(inputs[largest : largest + 1], targets[largest : largest + 1], None)
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
