"""A run's directory: what it holds, how it is begun, saved and resumed."""

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Self

from rich.console import Console

from waveletgpt.common.errors import DiskFullError, InputError
from waveletgpt.common.files import lock, read_json, read_text, remove_leftovers, write_text
from waveletgpt.models.checkpoint import CheckpointInfo, save_checkpoint
from waveletgpt.models.gpt import GPT
from waveletgpt.training.config import TrainConfig, as_flags, differences
from waveletgpt.training.data import DatasetInfo
from waveletgpt.training.optimizer import Optimizers
from waveletgpt.training.ranks.processes import Processes
from waveletgpt.training.runs.card import model_card
from waveletgpt.training.runs.samples import has_sample, write_sample
from waveletgpt.training.runs.state import State, collect, read_facts, read_state, restore, weights_in, write_state


@dataclass
class Standing:
    """How far a run has come."""

    step: int = 0
    seconds: float = 0.0
    """Spent in training steps."""
    loss_sum: float = 0.0
    """Sum of the training losses since the last evaluation, and their number."""
    loss_count: int = 0
    best_val_loss: float = math.inf
    metrics: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    """Settings that were changed on the way: from which step, and what they were before."""

    def advance(self, losses: list[float], seconds: float) -> None:
        """Take in the losses of the next steps, which took `seconds`."""
        for loss in losses:  # one by one: however steps are grouped, the sum rounds alike
            self.loss_sum += loss
        self.loss_count += len(losses)
        self.step += len(losses)
        self.seconds += seconds

    @property
    def is_evaluated(self) -> bool:
        """Whether the last evaluation was of this very step."""
        return bool(self.metrics) and bool(self.metrics[-1]["step"] == self.step)

    @property
    def is_best(self) -> bool:
        """Whether no evaluation before the last had a validation loss as low."""
        losses = [row["val_loss"] for row in self.metrics]
        return bool(losses) and losses.index(min(losses)) == len(losses) - 1


class Run:
    """A run in progress, which only the first process writes; within `with`, no other command may train in it.

    state.safetensors  weights, optimizer and `Standing`: all that resuming needs
    run.json           the settings
    metrics.jsonl      one line an evaluation: step, tokens, seconds, train_loss, val_loss
    last/, best/       checkpoints, of the last evaluation and of the lowest validation loss
    samples/           what the model generates at each evaluation

    The state is written first, in one step. Everything else follows from it, and is made good when the run is resumed:
    so wherever a run is cut off, nothing is lost and nothing is at odds.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: DatasetInfo,
        model: GPT,
        optimizer: Optimizers,
        *,
        processes: Processes,
        console: Console,
    ) -> None:
        self.config, self.data, self.model, self.optimizer = config, data, model, optimizer
        self.processes, self.console = processes, console
        self.out, self.state_path = config.out, config.out / "state.safetensors"
        self.digests = {split: facts["sha256"] for split, facts in data.splits.items()}
        self.standing = Standing()
        self.saved_at = 0
        """The last step that was saved; 0 before."""
        self._samples_failed = False
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Begin the run, or take it up where it was saved."""
        try:
            self._begin()
        except BaseException:
            self._held.close()
            raise
        return self

    def _begin(self) -> None:
        state: State = {}
        with self.processes.together():
            if self.processes.is_first:
                state = self._opened()
        self.standing = Standing(**json.loads(self.processes.told(json.dumps(asdict(self.standing)))))
        self.saved_at = self.standing.step
        if self.standing.step:
            self.console.print(f"Going on from step {self.standing.step:,}.")
            restore(state, self.model, self.optimizer, self.processes)
            self._publish(state, anew=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def _opened(self) -> State:
        """Take possession of the directory. Returns the saved state, empty if the run stands at its beginning."""
        if self.out.exists() and not self.out.is_dir():
            raise InputError(f"{self.out} is a file; give --out a directory")
        if self.config.resume and not (self.state_path.exists() or (self.out / "run.json").exists()):
            raise InputError(f"{self.out} holds no run to resume; leave --resume out to begin one")
        if self.state_path.exists() and not self.config.resume:
            raise InputError(f"{self.out} already holds a run; add --resume, or choose another --out")
        self.out.mkdir(parents=True, exist_ok=True)
        if self._held.enter_context(lock(self.out)) is False:
            raise InputError(f"{self.out} is being trained by another command; stop that first")
        for directory in (self.out, self.out / "samples"):
            remove_leftovers(directory)
        if self.config.resume:
            return self._taken_up()
        self._write_settings()
        return {}

    def _taken_up(self) -> State:
        """The saved state; `standing` becomes what it tells. A run cut off before its first save begins anew."""
        if not self.state_path.exists():
            self._check_settings(read_json(self.out / "run.json"))
            return {}
        facts = read_facts(self.state_path)
        try:
            self.standing, begun = Standing(**facts["standing"]), facts["config"]
        except (KeyError, TypeError) as error:
            raise InputError(f"{self.state_path} cannot be resumed from: {error}") from None
        self._check_settings(begun)
        return read_state(self.state_path, self.model, self.optimizer)

    def _check_settings(self, begun: dict[str, Any]) -> None:
        """InputError if the run was begun on other data or with other settings, unless --allow-changes."""
        begun, now = dict(begun), self._settings()
        if begun.pop("data_digests", None) != now.pop("data_digests"):
            raise InputError(f"{self.out} was begun on other data than {self.config.data} holds; give --data the same")
        differ = differences(begun, now)
        fixed = {name: value for name, value in differ.items() if name.startswith("model.")}
        if self.config.model.positions == "rope":  # no weight depends on the context then, so that windows may grow
            fixed.pop("model.block_size", None)
        refused = fixed if self.config.allow_changes else differ
        if refused:
            raise InputError(
                f"{self.out} was begun with other settings ({', '.join(refused)}); "
                f"resume with {as_flags(refused)}, or choose another --out"
            )
        if "steps" in differ and self.config.steps <= self.standing.step:
            raise InputError(f"--steps is {self.config.steps:,}, and {self.out} stands at step {self.standing.step:,}")
        if differ:
            self.standing.changes.append({"step": self.standing.step, "before": differ})
            self._write_settings()
            self.console.print(f"Going on with changed settings; those before were {as_flags(differ)}")

    def _settings(self) -> dict[str, Any]:
        return {**self.config.to_dict(), "data_digests": self.digests}

    def _write_settings(self) -> None:
        settings = {**self._settings(), "changes": self.standing.changes}
        with self._or_how_to_go_on():
            write_text(self.out / "run.json", json.dumps(settings, indent=2) + "\n")

    def record(self, train_loss: float, val_loss: float) -> bool:
        """Take in an evaluation and save everything; returns whether its validation loss is the lowest yet."""
        standing = self.standing
        standing.best_val_loss = min(val_loss, standing.best_val_loss)
        standing.loss_sum, standing.loss_count = 0.0, 0
        before = standing.metrics[-1] if standing.metrics else {"step": 0, "tokens": 0}
        windows = (standing.step - before["step"]) * self.config.batch_size
        tokens = before["tokens"] + windows * self.config.model.block_size
        line = {"step": standing.step, "tokens": tokens, "seconds": round(standing.seconds, 3)}
        standing.metrics.append({**line, "train_loss": train_loss, "val_loss": val_loss})
        self._publish(self.save(), anew=True)
        return standing.is_best

    def save(self) -> State:
        """Write what resuming needs; returns it, on the first process."""
        state = collect(self.model, self.optimizer, keep=self.processes.is_first)
        with self.processes.together(), self._or_how_to_go_on():
            if self.processes.is_first:
                facts = {"config": self._settings(), "standing": asdict(self.standing)}
                write_state(self.state_path, state, facts)
        self.saved_at = self.standing.step
        return state

    def _publish(self, state: State, *, anew: bool) -> None:
        """Bring all other files to what `state` and `standing` say; unless `anew`, those that do are left alone."""
        with self.processes.together(), self._or_how_to_go_on():
            if not self.processes.is_first:
                return
            standing = self.standing
            lines = "".join(json.dumps(row) + "\n" for row in standing.metrics)
            if (read_text(self.out / "metrics.jsonl") or "") != lines:
                write_text(self.out / "metrics.jsonl", lines)
            if not standing.is_evaluated:
                return
            model = GPT(self.config.model).eval()  # in one piece and on the CPU, wherever the trained one is
            model.load_state_dict(weights_in(state))
            info = self._info()
            for name in ["last", "best"] if standing.is_best else ["last"]:
                if read_text(self.out / name / "metrics.jsonl") != lines:
                    card = model_card(model, info, self.config)
                    save_checkpoint(self.out / name, model, info, metrics=lines, card=card, keep_others=True)
            if anew or not has_sample(self.out / "samples", standing.step):
                self._sample(model)

    def _info(self) -> CheckpointInfo:
        """What a checkpoint of the last evaluation says of itself."""
        row = self.standing.metrics[-1]
        return CheckpointInfo(
            modality=self.data.modality,
            model=self.config.model,
            tokenizer=self.data.tokenizer,
            trained_on={
                "source": self.data.source,
                "licence": self.data.licence,
                "report": self.data.report,
                "sha256": self.digests.get("train"),
            },
            steps=row["step"],
            tokens=row["tokens"],
            seed=self.config.seed,
            losses={"train": row["train_loss"], "val": row["val_loss"]},
        )

    def _sample(self, model: GPT) -> None:
        """Write a sample of this step, if wanted. What hinders it is told once, and hinders nothing else."""
        if self.config.sample_tokens == 0:
            return
        try:
            write_sample(
                self.out / "samples",
                self.standing.step,
                model,
                modality=self.data.modality,
                tokenizer=self.data.tokenizer,
                tokens=self.config.sample_tokens,
            )
        except (ImportError, InputError, OSError, RuntimeError) as error:
            if not self._samples_failed:
                self.console.print(f"Samples are left out: {error}")
            self._samples_failed = True

    @contextmanager
    def _or_how_to_go_on(self) -> Iterator[None]:
        """Where the disk is full, say from where the run goes on."""
        try:
            yield
        except DiskFullError as error:
            then = f"add --resume to go on from step {self.saved_at:,}" if self.saved_at else "begin again"
            raise DiskFullError(f"{error}; make room, then {then}") from error
