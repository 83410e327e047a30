"""Checkpoints in two lines of Python: load one by its name, generate, score, save, share."""

import base64
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from waveletgpt.app.checkpoints import LoadedCheckpoint, load_any
from waveletgpt.app.locating import locate
from waveletgpt.app.modalities.base import AppModality, Prompt, load_modality
from waveletgpt.app.recipe import to_word
from waveletgpt.app.results import EVERY, Result, grow, new_result
from waveletgpt.common.files import read_text
from waveletgpt.common.units import in_unit
from waveletgpt.models.checkpoint import CheckpointInfo, save_checkpoint
from waveletgpt.models.devices import pick_device
from waveletgpt.models.generation import score
from waveletgpt.models.gpt import GPT
from waveletgpt.models.sampling import Sampling
from waveletgpt.tokenizers.registry import Tokenizer


def load(name: str | Path, device: str = "cpu") -> "Pretrained":
    """Load a checkpoint.

    Args:
        name: the name of one that ships with waveletgpt, such as "text-learnable"; the folder of a checkpoint or of a
            training run; or the id of one on the Hugging Face Hub, "OWNER/NAME" or "OWNER/NAME@REVISION".
        device: cpu, cuda, or auto, which is CUDA if there is a GPU.

    Raises:
        InputError: there is no such checkpoint, or it is damaged.
    """
    directory = locate(name)
    return Pretrained(load_any(directory, pick_device(device)), directory)


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint in memory."""

    loaded: LoadedCheckpoint
    directory: Path
    """Where it was loaded from."""

    @property
    def name(self) -> str:
        """Name of its folder, of a run's best checkpoint the name of the run."""
        folder = self.directory.resolve()
        return folder.parent.name if folder.name == "best" else folder.name

    @property
    def model(self) -> GPT:
        """The network: ids (B, T) in, logits (B, T, V) out."""
        return self.loaded.model

    @property
    def tokenizer(self) -> Tokenizer:
        """Media to ids and back: `encode` and `decode`."""
        return self.loaded.tokenizer

    @property
    def info(self) -> CheckpointInfo:
        """Kind of data, settings, training data, losses."""
        return self.loaded.info

    @property
    def modality(self) -> AppModality[Any]:
        """Kind of data."""
        return load_modality(self.info.modality)

    def __repr__(self) -> str:
        config, (unit, loss) = self.info.model, self._loss()
        return (
            f"<{self.name}: {self.info.modality}, {config.n_layer} blocks of {config.n_embd} coordinates, "
            f"{config.mixer} {config.place}{f', {loss:.3f} {unit}' if loss else ''}>"
        )

    def _loss(self) -> tuple[str, float | None]:
        unit, loss = self.modality.loss_unit, self.info.losses.get("val")
        return unit, None if loss is None else in_unit(loss, unit)

    def ids(self, source: "str | Path | Tensor | Generated") -> Tensor:
        """The ids (P,) of a text, a file, another result, or of ids themselves. Raises InputError."""
        return self._prompt(source).ids

    def _prompt(self, source: "str | Path | Tensor | Generated") -> Prompt:
        if isinstance(source, Generated):
            source = source.ids
        if isinstance(source, Tensor):
            return Prompt(source.long().cpu())
        return self.modality.read_prompt(source, self.tokenizer)

    def generate(
        self,
        prompt: "str | Path | Tensor | Generated | None" = None,
        length: float | None = None,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        mute: str = "",
    ) -> "Generated":
        """Continue a prompt, or begin a new piece.

        Args:
            prompt: text, or the file of a sound or of a piece in MIDI; ids (P,), as `tokenizer.encode` gives them;
                another result; None to begin anew.
            length: how much to add, in characters, seconds or events; None for as much as the page.
            temperature, top_p, min_p: how tokens are drawn; None for the checkpoint's own settings.
            top_k, repetition_penalty: see `models.sampling`.
            seed: equal seeds give equal results on a CPU.
            mute: levels of the wavelet to leave out, such as "9" or "3:9", see `models.muting`.

        Raises:
            InputError: a prompt or setting cannot be used.
        """
        settings = {"temperature": temperature, "top_p": top_p, "min_p": min_p, "top_k": top_k}
        given = {**settings, "repetition_penalty": repetition_penalty, "seed": seed, "mute": mute}
        *_, last = self.stream(prompt, length, **given)
        return last

    def stream(
        self, prompt: "str | Path | Tensor | Generated | None" = None, length: float | None = None, **settings: Any
    ) -> Iterator["Generated"]:
        """As `generate`, but yields the result four times a second while it grows. The last one is complete."""
        modality, mute = self.modality, settings.pop("mute", "")
        own: dict[str, Any] = modality.sampling(self.info)
        chosen = {name: value for name, value in settings.items() if value is not None}
        sampling = Sampling(**{**own, **chosen})
        amount = modality.length.default if length is None else length
        result = new_result(
            modality,
            replace(self.loaded, name=self.name),
            None if prompt is None else self._prompt(prompt),
            modality.checked_count("length", amount, self.tokenizer),
            sampling,
            mute=mute,
        )
        with closing(grow([result], every=EVERY)) as snapshots:
            for snapshot in snapshots:
                yield from (Generated(one, modality) for one in snapshot if one)

    def score(self, source: "str | Path | Tensor | Generated") -> "Score":
        """How probable the model finds a text, a file, a result, or ids (N,). Raises InputError."""
        ids, start = self.ids(source), self.tokenizer.start
        return Score(ids, score(self.model, torch.cat([start, ids])[None])[0, len(start) :])

    def save_pretrained(self, directory: str | Path) -> Path:
        """Write the checkpoint, with its card, to a folder that `load` reads. One that it already holds is replaced.

        Raises InputError if the folder holds other files.
        """
        metrics, card = (read_text(self.directory / name) for name in ("metrics.jsonl", "README.md"))
        save_checkpoint(Path(directory), self.model, self.info, metrics=metrics or "", card=card or "")
        return Path(directory)

    def push_to_hub(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload the checkpoint to the Hugging Face Hub, from where `load(repo_id)` fetches it.

        Args:
            repo_id: OWNER/NAME. A repository that is not there is created.
            private: whether only you can see a new repository.
            token: of your account; None for the one that `hf auth login` keeps.

        Returns:
            The address of the upload.
        """
        from huggingface_hub import HfApi  # noqa: PLC0415, only here

        api = HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        with TemporaryDirectory() as folder:
            self.save_pretrained(Path(folder) / "checkpoint")
            uploaded = api.upload_folder(
                repo_id=repo_id, folder_path=Path(folder) / "checkpoint", commit_message=f"waveletgpt: {self.name}"
            )
        return str(uploaded)


@dataclass(frozen=True)
class Score:
    """What a model thinks of N tokens."""

    ids: Tensor
    """(N,)."""
    log_probs: Tensor
    """(N,) natural logarithm of the probability of each token after those before it."""

    @property
    def bits(self) -> Tensor:
        """(N,) bits of each token."""
        return -self.log_probs / math.log(2)

    @property
    def bits_per_token(self) -> float:
        """Their mean."""
        return float(self.bits.double().mean())

    def __repr__(self) -> str:
        return f"<Score: {len(self.ids):,} tokens, {self.bits_per_token:.3f} bits each>"


@dataclass(frozen=True)
class Generated:
    """What a checkpoint wrote. In a notebook it shows itself: text, player, spectrogram or piano roll."""

    result: Result
    modality: AppModality[Any]

    @property
    def ids(self) -> Tensor:
        """(P + N,) the prompt and N new tokens."""
        return self.result.completion.ids

    @property
    def prompt_length(self) -> int:
        """P."""
        return self.result.completion.prompt_length

    @property
    def decoded(self) -> Any:
        """Prompt and continuation: text as str; sound as a tensor (S,) in -1..1; music as a score of symusic."""
        return self.result.loaded.tokenizer.decode(self.ids)

    @property
    def bits_per_token(self) -> float:
        """The model's own loss on the new tokens."""
        return self.result.completion.nats_per_token / math.log(2)

    def __str__(self) -> str:
        return self.decoded if isinstance(self.decoded, str) else repr(self)

    def __repr__(self) -> str:
        completion, tokenizer = self.result.completion, self.result.loaded.tokenizer
        written = self.modality.count_in_words(completion.written, tokenizer)
        return f"<{self.modality.name} by {self.result.name}: {written} after {self.prompt_length:,} of prompt>"

    def save(self, path: str | Path) -> Path:
        """Write a file: .txt or .json, .wav, .mid. All but .txt keep the recipe, from which the page and
        `waveletgpt generate --recipe` make the result again.

        Raises InputError for another kind of file.
        """
        path = Path(path)
        self.modality.check_target(path)
        recipe = to_word([self.result.recipe])
        self.modality.write(self.result.completion, self.result.loaded.tokenizer, path, recipe)
        return path

    def _repr_html_(self) -> str:
        view = self.modality.view(self.result.completion, self.result.loaded.tokenizer)
        return f'{_style()}<div class="waveletgpt">{view}{self._player()}</div>'

    def _player(self) -> str:
        if not self.modality.is_heard:
            return ""
        with TemporaryDirectory() as folder:
            sound = base64.b64encode(self.save(Path(folder) / "sound.wav").read_bytes()).decode()
        return f'<audio controls src="data:audio/wav;base64,{sound}"></audio>'


@cache
def _style() -> str:
    """The page's figures, in colours that need no page around them."""
    static = files("waveletgpt.app.web") / "static"
    sheets = (static / "notebook.css", static / "figure.css")
    return f"<style>.waveletgpt {{ {' '.join(sheet.read_text('utf-8') for sheet in sheets)} }}</style>"
