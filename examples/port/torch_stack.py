"""The run in PyTorch: class axis 1, kernels [out, in, height, width], torch.optim.SGD."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
import torch
import worker
from data import CLASSES, UNLABELLED
from state import HIDDEN, KERNELS, Arrays, State
from torch import nn

from multismooth.torch import SmoothedCrossEntropy

torch.set_num_threads(1)


def make_net() -> nn.Sequential:
    layers = {
        "conv1": nn.Conv2d(1, HIDDEN, KERNELS[0], padding="same"),
        "tanh": nn.Tanh(),
        "conv2": nn.Conv2d(HIDDEN, CLASSES, KERNELS[1], padding="same"),
    }
    return nn.Sequential(OrderedDict(layers))


def make_criterion(loss: str, setup: worker.Setup) -> nn.Module:
    """Torch's own loss divides by the labelled pixels already, so its two forms are one."""
    if loss == worker.OURS:
        return SmoothedCrossEntropy(spec=setup.spec)
    return nn.CrossEntropyLoss(ignore_index=UNLABELLED, label_smoothing=setup.label_smoothing)


class TorchTrainer:
    """Trains with `criterion(logits, labels)`, as any torch loop does."""

    def __init__(self, setup: worker.Setup, job: worker.Job, state: State) -> None:
        self.net = make_net().to(getattr(torch, job.dtype))
        self.criterion = make_criterion(job.loss, setup)
        self.optimizer = torch.optim.SGD(self.net.parameters(), setup.learning_rate, setup.momentum)
        self.net.load_state_dict(from_neutral(state.weights))
        buffers = from_neutral(state.momentum)
        for name, parameter in self.net.named_parameters():
            self.optimizer.state[parameter]["momentum_buffer"] = buffers[name]

    def loss(self, images: np.ndarray, labels: np.ndarray) -> torch.Tensor:
        logits = self.net(torch.from_numpy(images).permute(0, 3, 1, 2))
        return self.criterion(logits, torch.from_numpy(labels).long())

    def step(self, images: np.ndarray, labels: np.ndarray) -> float:
        self.optimizer.zero_grad()
        loss = self.loss(images, labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> float:
        return self.loss(images, labels).item()

    def state(self, step: int) -> State:
        parameters = dict(self.net.named_parameters())
        buffers = {name: self.optimizer.state[parameter]["momentum_buffer"] for name, parameter in parameters.items()}
        return State(to_neutral(parameters), to_neutral(buffers), step)


def from_neutral(arrays: Arrays) -> dict[str, torch.Tensor]:
    """`conv1/kernel` [H, W, in, out] becomes `conv1.weight` [out, in, H, W]."""
    return {
        torch_name(name): torch.tensor(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array)
        for name, array in arrays.items()
    }


def to_neutral(tensors: Mapping[str, torch.Tensor]) -> Arrays:
    arrays = {neutral_name(name): tensor.detach().numpy() for name, tensor in tensors.items()}
    return {name: array.transpose(2, 3, 1, 0) if array.ndim == 4 else array for name, array in arrays.items()}


def torch_name(name: str) -> str:
    return name.replace("/kernel", ".weight").replace("/bias", ".bias")


def neutral_name(name: str) -> str:
    return name.replace(".weight", "/kernel").replace(".bias", "/bias")


if __name__ == "__main__":
    worker.main(TorchTrainer)
