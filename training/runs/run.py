"""The directory of a run: what it contains, and how a run is begun, saved and resumed."""

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from rich.console import Console

from waveletgpt.common.errors import DiskFullError, InputError
from waveletgpt.common.files import json_text, lock, read_json, read_text, remove_leftovers, write_text
from waveletgpt.models.checkpoint import CheckpointInfo, save_checkpoint
from waveletgpt.models.gpt import GPT
from waveletgpt.training.config import TrainConfig, as_flags, differences, training_command
from waveletgpt.training.data import DatasetInfo
from waveletgpt.training.optimizer import Optimizers
from waveletgpt.training.ranks.hardware import hardware_in_words
from waveletgpt.training.ranks.processes import Processes
from waveletgpt.training.runs.card import model_card, portable_settings
from waveletgpt.training.runs.samples import has_sample, write_sample
from waveletgpt.training.runs.start import Start, started_from
from waveletgpt.training.runs.state import State, collect, read_facts, read_state, restore, weights_in, write_state


@dataclass
class Progress:
    """How far a run has come. Losses in nats per token."""

    step: int = 0
    seconds: float = 0.0
    """Time spent in training steps."""
    loss_sum: float = 0.0
    """Sum of the training losses since the last evaluation."""
    loss_count: int = 0
    """Their number."""
    metrics: list[dict[str, Any]] = field(default_factory=list)
    """The lines of metrics.jsonl."""
    changes: list[dict[str, Any]] = field(default_factory=list)
    """Changes of the settings: at which step, and the values before."""

    def advance(self, losses: list[float], seconds: float) -> None:
        """Add the losses of the next steps, which took `seconds`."""
        for loss in losses:  # one by one, so that the sum is the same however steps are grouped
            self.loss_sum += loss
        self.loss_count += len(losses)
        self.step += len(losses)
        self.seconds += seconds

    @property
    def is_evaluated(self) -> bool:
        """Whether the current step was evaluated."""
        return bool(self.metrics) and bool(self.metrics[-1]["step"] == self.step)

    @property
    def best_val_loss(self) -> float:
        """The lowest validation loss; infinite before the first evaluation."""
        return min((row["val_loss"] for row in self.metrics), default=math.inf)

    @property
    def is_best(self) -> bool:
        """Whether the last evaluation is the first with the lowest validation loss."""
        return [row["val_loss"] for row in self.metrics].index(self.best_val_loss) == len(self.metrics) - 1


class Run:
    """A run in progress. As a context manager it locks the directory, so that no other command trains in it.

    state.safetensors  weights, optimizer state and `Progress`: all that resuming needs
    run.json           the settings, the kind of data, and the command that begins the run anew
    metrics.jsonl      one line for each evaluation: step, tokens, seconds, train_loss, val_loss
    last/, best/       checkpoints of the last evaluation and of the lowest validation loss
    samples/           what the model generates at each evaluation

    Only the first process writes. The state is written first, atomically. All other files follow from it, and are
    completed when the run is resumed. So nothing is lost or inconsistent wherever a run is cut off.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: DatasetInfo,
        model: GPT,
        optimizer: Optimizers,
        *,
        start: Start | None,
        processes: Processes,
        console: Console,
    ) -> None:
        self.config, self.data, self.model, self.optimizer, self.start = config, data, model, optimizer, start
        self.processes, self.console = processes, console
        self.out, self.state_path = config.out, config.out / "state.safetensors"
        self.digests = {split: facts["sha256"] for split, facts in data.splits.items()}
        self.progress = Progress()
        self.saved_at = 0
        """The last step that was saved, 0 if none."""
        self._samples_failed = False
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Begin the run, or resume it from its last save."""
        try:
            self._begin()
        except BaseException:
            self._held.close()
            raise
        return self

    def _begin(self) -> None:
        state: State = {}
        with self.processes.share_errors():
            if self.processes.is_first:
                state = self._open_directory()
        self.progress = Progress(**json.loads(self.processes.broadcast(json_text(asdict(self.progress)))))
        self.saved_at = self.progress.step
        if self.progress.step:
            self.console.print(f"Resuming from step {self.progress.step:,}.")
            restore(state, self.model, self.optimizer, self.processes)
            self._write_outputs(state, rewrite=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def _open_directory(self) -> State:
        """Lock and clean up the directory. Returns the saved state, or an empty one if there is none."""
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
            return self._load()
        self._write_settings()
        return {}

    def _load(self) -> State:
        """Load the saved state and set `progress`. A run that was cut off before its first save begins anew."""
        if not self.state_path.exists():
            self._check_settings(read_json(self.out / "run.json"))
            return {}
        facts = read_facts(self.state_path)
        try:
            progress = dict(facts["progress" if "progress" in facts else "standing"])  # its older name
            progress.pop("best_val_loss", None)  # in older states
            self.progress = Progress(**progress)
            begun = facts["config"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.state_path} cannot be resumed from: {error}") from None
        self._check_settings(begun)
        return read_state(self.state_path, self.model, self.optimizer)

    def _check_settings(self, begun: dict[str, Any]) -> None:
        """Raise InputError if the data differ, or the settings differ in what --allow-changes does not allow."""
        begun, now = dict(begun), self._settings()
        if begun.pop("data_digests", None) != now.pop("data_digests"):
            raise InputError(f"{self.out} was begun on other data than {self.config.data} holds; give --data the same")
        differ = differences(begun, now)
        fixed = {name: value for name, value in differ.items() if name.startswith("model.")}
        if self.config.model.rotary:  # then no weight depends on block_size
            fixed.pop("model.block_size", None)
        refused = fixed if self.config.allow_changes else differ
        if refused:
            raise InputError(
                f"{self.out} was begun with other settings ({', '.join(refused)}); "
                f"resume with {as_flags(refused)}, or choose another --out"
            )
        if "steps" in differ and self.config.steps <= self.progress.step:
            raise InputError(
                f"--steps is {self.config.steps:,}, but {self.out} is already at step {self.progress.step:,}"
            )
        if differ:
            self.progress.changes.append({"step": self.progress.step, "before": differ})
            self._write_settings()
            self.console.print(f"Resuming with changed settings; before they were {as_flags(differ)}")

    def _settings(self) -> dict[str, Any]:
        return {**self.config.to_dict(), "data_digests": self.digests}

    def _recorded_settings(self) -> dict[str, Any]:
        return {**self._settings(), "changes": self.progress.changes}

    def _write_settings(self) -> None:
        with self._with_advice():
            settings = self._recorded_settings()
            facts = {**settings, "modality": self.data.modality, "command": training_command(settings)}
            write_text(self.out / "run.json", json_text(facts, indent=2) + "\n")

    def record(self, train_loss: float, val_loss: float) -> bool:
        """Add an evaluation and save everything. Returns whether its validation loss (nats per token) is the lowest."""
        progress = self.progress
        progress.loss_sum, progress.loss_count = 0.0, 0
        before = progress.metrics[-1] if progress.metrics else {"step": 0, "tokens": 0}
        windows = (progress.step - before["step"]) * self.config.batch_size
        tokens = before["tokens"] + windows * self.config.model.block_size
        line = {"step": progress.step, "tokens": tokens, "seconds": round(progress.seconds, 3)}
        progress.metrics.append({**line, "train_loss": train_loss, "val_loss": val_loss})
        self._write_outputs(self.save(), rewrite=True)
        return progress.is_best

    def save(self) -> State:
        """Write state.safetensors. Returns the state, which is empty in all but the first process."""
        state = collect(self.model, self.optimizer, keep=self.processes.is_first)
        with self.processes.share_errors(), self._with_advice():
            if self.processes.is_first:
                facts = {"config": self._settings(), "progress": asdict(self.progress)}
                write_state(self.state_path, state, facts)
        self.saved_at = self.progress.step
        return state

    def _write_outputs(self, state: State, *, rewrite: bool) -> None:
        """Write all files that follow from `state` and `progress`, unless they are there already.

        With `rewrite` the sample of this step is written again.
        """
        with self.processes.share_errors(), self._with_advice():
            if not self.processes.is_first:
                return
            progress = self.progress
            if (read_text(self.out / "metrics.jsonl") or "") != _lines(progress.metrics):
                write_text(self.out / "metrics.jsonl", _lines(progress.metrics))
            if not progress.is_evaluated:
                return
            model = GPT(self.config.model).eval()  # on the CPU and not sharded
            model.load_state_dict(weights_in(state))
            metrics = self.start.carried_on(progress.metrics) if self.start else progress.metrics
            info, lines = self._info(metrics[-1]), _lines(metrics)
            for name in ["last", "best"] if progress.is_best else ["last"]:
                if read_text(self.out / name / "metrics.jsonl") != lines:
                    card = model_card(model, info, metrics[-1])
                    save_checkpoint(self.out / name, model, info, metrics=lines, card=card, keep_others=True)
            if rewrite or not has_sample(self.out / "samples", progress.step):
                self._sample(model)

    def _info(self, row: dict[str, Any]) -> CheckpointInfo:
        """The description of a checkpoint of the last evaluation, `row`."""
        on_device = replace(self.config, device=str(self.model.embedding.weight.device))
        return CheckpointInfo(
            modality=self.data.modality,
            model=self.config.model,
            tokenizer=self.data.tokenizer,
            trained_on={
                "source": self.data.source,
                "licence": self.data.licence,
                "report": self.data.report,
                "sha256": self.digests.get("train"),
                "settings": portable_settings(self._recorded_settings()),
                "hardware": hardware_in_words(on_device, self.processes.world),
                **({"started_from": started_from(self.start.info)} if self.start else {}),
            },
            steps=row["step"],
            tokens=row["tokens"],
            seed=self.config.seed,
            losses={"train": row["train_loss"], "val": row["val_loss"]},
        )

    def _sample(self, model: GPT) -> None:
        """Write a sample of this step, if wanted. Errors are printed once and do not end the run."""
        if self.config.sample_tokens == 0:
            return
        try:
            write_sample(
                self.out / "samples",
                self.progress.step,
                model,
                modality=self.data.modality,
                tokenizer=self.data.tokenizer,
                tokens=self.config.sample_tokens,
            )
        except (ImportError, InputError, OSError, RuntimeError) as error:
            if not self._samples_failed:
                self.console.print(f"No samples: {error}")
            self._samples_failed = True

    @contextmanager
    def _with_advice(self) -> Iterator[None]:
        """If the disk is full, add to the error how to continue."""
        try:
            yield
        except DiskFullError as error:
            then = f"add --resume to continue from step {self.saved_at:,}" if self.saved_at else "begin again"
            raise DiskFullError(f"{error}; make room, then {then}") from error


def _lines(metrics: list[dict[str, Any]]) -> str:
    return "".join(json_text(row) + "\n" for row in metrics)
