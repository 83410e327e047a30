"""A check that every parameter of the model learns."""

import torch
from torch import Tensor

from waveletgpt.common.errors import InputError
from waveletgpt.models.gpt import GPT
from waveletgpt.training.ranks.parallel import local_part
from waveletgpt.training.ranks.processes import Processes

STEPS = 10
"""Steps that the check looks at, so that one odd batch does not end a run."""
SHOWN = 3
"""Parameters that the error names besides the first."""


class GradientError(InputError):
    """A parameter does not learn."""


class GradientCheck:
    """Looks at the gradients of the first steps, and refuses a model with a parameter that does not learn.

    Such a parameter has no gradient, a gradient of zeros or one with a value that is not finite, in all these steps.
    Rows of an embedding whose tokens do not occur may be zero, but not the whole embedding. The check works on the
    device and waits for it only once; after the first steps it does nothing. Gradients may be sharded.
    """

    def __init__(self, model: GPT, processes: Processes, *, compiled: bool = False) -> None:
        self.processes, self.compiled = processes, compiled
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.exist: list[list[bool]] = []
        """For each step, whether each of the P gradients exists."""
        self.seen: list[Tensor] = []
        """For each step (P, 2), on the device: whether this process's part of each gradient has a value other than
        zero, and has only finite values."""
        self.passed = False

    def look(self) -> None:
        """Note the gradients of a step. They must not be clipped yet: clipping spreads one NaN to all of them.

        Raises:
            GradientError: a gradient is missing and there are several processes, which could not take another step.
        """
        if self.passed or len(self.seen) == STEPS:
            return
        gradients = [parameter.grad for parameter in self.parameters.values()]
        device = next(iter(self.parameters.values())).device
        nothing = torch.zeros(0, device=device)
        parts = [nothing if gradient is None else local_part(gradient) for gradient in gradients]
        nonzero, finite = torch.stack([p.any() for p in parts]), torch.stack([p.isfinite().all() for p in parts])
        self.exist.append([gradient is not None for gradient in gradients])
        self.seen.append(torch.stack([nonzero, finite], dim=1))
        if self.processes.world > 1 and any(gradient is None for gradient in gradients):
            self.judge(early=True)

    def judge(self, *, early: bool = False) -> None:
        """Judge the steps that were looked at, once there are enough of them, or now if `early`.

        All processes must call this at the same time.

        Raises:
            GradientError: a parameter learned in none of these steps. The message names it.
        """
        if self.passed or not self.seen or (len(self.seen) < STEPS and not early):
            return
        found = torch.stack(self.seen).cpu()  # (S, P, 2)
        flags = torch.cat([torch.tensor(self.exist)[..., None], found], dim=2)
        means = torch.tensor(self.processes.means(flags.flatten())).view(flags.shape)
        exists, nonzero, finite = means[..., 0] == 1, means[..., 1] > 0, means[..., 2] == 1  # each (S, P)
        learns = (exists & nonzero & finite).any(0).tolist()
        bad = [i for i, does_learn in enumerate(learns) if not does_learn]
        if bad:
            first = bad[0]
            absent, broken = not exists[:, first].all(), not finite[:, first].all()
            problem = "missing" if absent else "not finite" if broken else "zero"
            raise GradientError(self._message([list(self.parameters)[i] for i in bad], problem))
        self.passed, self.exist, self.seen = True, [], []

    def _message(self, names: list[str], problem: str) -> str:
        name, *others = names
        found = f"{name} does not learn: its gradient was {problem} in every step so far ({len(self.seen)})"
        more = f"; {len(others)} more do not learn either ({', '.join(others[:SHOWN])})" if others else ""
        hint = "; if torch.compile is the cause, --no-compile helps" if self.compiled else ""
        return found + more + hint
