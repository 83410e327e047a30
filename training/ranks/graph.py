"""A training step as one CUDA graph."""

from collections.abc import Callable

import torch
from torch import Tensor

from waveletgpt.training.ranks.devices import pinned

Parts = list[tuple[Tensor, Tensor]]
"""A batch in parts of inputs and targets, each (B, T)."""
Learn = Callable[[Parts], Tensor]
"""Takes a training step on a batch and returns its loss on the device. It must not wait for the device."""


class StepGraph:
    """Takes training steps; from `warm_up` on by replaying one CUDA graph, so that a step is launched at once.

    The graph holds forward and backward pass, clipping and update. It reads its batch and the learning rates at fixed
    addresses. The steps before let torch.compile and cuBLAS prepare; they are ordinary steps, on the stream that is
    captured afterwards, because a node of autograd keeps to its stream.
    """

    def __init__(self, learn: Learn, device: torch.device, warm_up: int) -> None:
        self.learn, self.device, self.steps_left = learn, device, warm_up
        self.parts: Parts = []
        self.replay: Callable[[], Tensor] | None = None
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, parts: Parts) -> Tensor:
        """Take a step on a batch. All batches must have the same shape. Returns the loss."""
        if not self.parts:
            device = self.device
            self.parts = [(torch.empty_like(x, device=device), torch.empty_like(y, device=device)) for x, y in parts]
        for mine, given in zip(self.parts, parts, strict=True):
            for fixed, new in zip(mine, given, strict=True):
                fixed.copy_(pinned(new), non_blocking=True)
        if self.steps_left:
            self.steps_left -= 1
            return self._aside()
        if self.replay is None:
            self.replay = self._captured()
        return self.replay()

    def _aside(self) -> Tensor:
        """An ordinary step, on the graph's stream."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            loss = self.learn(self.parts)
        torch.cuda.current_stream().wait_stream(self.stream)
        return loss

    def _captured(self) -> Callable[[], Tensor]:
        """A function that takes a step by the graph. Capturing it takes no step."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            loss = self.learn(self.parts)

        def replay() -> Tensor:
            graph.replay()
            return loss.clone()  # the next replay overwrites it

        return replay
