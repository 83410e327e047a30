"""Checkpoints beside transformers: `AutoModelForCausalLM` and `AutoTokenizer` read them once this module is imported.

    import waveletgpt.huggingface
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained("checkpoints/text-learnable")
    tokenizer = AutoTokenizer.from_pretrained("checkpoints/text-learnable")

The network is `models.gpt.GPT`, its context that of `models.generation`: text of any length is read, and each token is
predicted from up to block_size tokens (`context_start`).

Shapes: B rows, N rows with equally much padding, T tokens, K tokens whose logits are kept, V vocabulary.
"""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from waveletgpt.models.checkpoint import MODEL_TYPE, CheckpointInfo, read_info, save_checkpoint, update_info
from waveletgpt.models.decoding import context_start, windows
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.state import DecodingState
from waveletgpt.tokenizers.audio import pure_torchaudio  # noqa: F401, parts of transformers import torchaudio
from waveletgpt.tokenizers.characters import CharacterTokenizer

END = "\N{SYMBOL FOR END OF TEXT}"
"""The token of padding, and of an end that no text has. Its id is V: the network neither reads nor writes it."""
UNSUPPORTED = ("inputs_embeds", "position_ids", "output_attentions", "output_hidden_states")
"""Arguments that most models of transformers take, and this one does not."""


def _from_shape(name: str) -> Any:
    """A property of `WaveletGPTConfig` under the name that transformers gives it."""
    return property(lambda config: getattr(config.gpt, name))


class WaveletGPTConfig(PreTrainedConfig):  # type: ignore[misc]
    """The entries of a checkpoint's `config.json`, under the same names (`models.checkpoint.CheckpointInfo`)."""

    model_type = MODEL_TYPE

    def __init__(self, **entries: Any) -> None:
        defaults = {"modality": "text", "model": asdict(GPTConfig()), "tokenizer": {}, "dtype": "float32"}
        super().__init__(**{**defaults, **entries})

    @property
    def gpt(self) -> GPTConfig:
        """The shape of the network."""
        return GPTConfig(**self.model)

    @property
    def info(self) -> CheckpointInfo:
        """The entries as a `CheckpointInfo`."""
        entries = {f.name: getattr(self, f.name) for f in fields(CheckpointInfo) if hasattr(self, f.name)}
        return CheckpointInfo(**{**entries, "model": self.gpt})

    vocab_size = _from_shape("vocab_size")
    max_position_embeddings = _from_shape("block_size")
    hidden_size = _from_shape("n_embd")
    num_hidden_layers = _from_shape("n_layer")
    num_attention_heads = _from_shape("n_head")


class WaveletGPTCache(Cache):  # type: ignore[misc]
    """Everything that was read, and the states of the network after it.

    Rows with equally much padding share a state. What transformers selects or repeats is read again at the next step.
    """

    is_compileable = False
    is_linear = (False,)

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.ids = self.padding = torch.zeros(0, 0, dtype=torch.long)
        self.states: dict[int, DecodingState] = {}

    def extend(self, ids: Tensor, padding: Tensor) -> None:
        """Add ids (B, T) with `padding` (B,) tokens at their left. Raises ValueError for padding inside of rows."""
        if not self.get_seq_length():
            self.ids, self.padding = ids, padding
        elif padding.any():
            raise ValueError("there is padding between the cached tokens and the new ones; pad at the left of each row")
        else:
            self.ids = torch.cat([self.ids, ids], dim=1)

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002
        """Number of tokens read, with their padding."""
        return self.ids.shape[1]

    def batch_select_indices(self, indices: Tensor) -> None:
        """Go on with the rows `indices` (B',)."""
        self.ids, self.padding, self.states = self.ids[indices], self.padding[indices], {}

    reorder_cache = batch_select_indices

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Go on with `repeats` copies of each row."""
        self.batch_select_indices(torch.arange(len(self.ids), device=self.ids.device).repeat_interleave(repeats))

    def crop(self, *_: Any) -> None:
        """Not possible: raises ValueError."""
        raise ValueError("a WaveletGPTCache cannot be cropped")


class WaveletGPTForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """`GPT` for transformers. Rows may be padded at the left, and without a cache also at the right."""

    config_class = WaveletGPTConfig
    base_model_prefix = "model"
    _is_stateful = True  # so generate() refuses assisted decoding, which crops the cache
    _supports_sdpa = True

    def __init__(self, config: WaveletGPTConfig) -> None:
        super().__init__(config)
        self.model = _new_network(config.gpt)
        self.register_load_state_dict_pre_hook(_accept_names_of_a_checkpoint)
        self.post_init()

    @torch.no_grad()
    def initialize_weights(self) -> None:
        """Set all that was not read from a file. from_pretrained clears the buffers that no checkpoint stores."""
        new = _new_network(self.config.gpt)
        for tensor, value in zip(_tensors(self.model), _tensors(new), strict=True):
            if not getattr(tensor, "_is_hf_initialized", False):
                tensor.copy_(value)

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # `forward` makes the cache

    def get_input_embeddings(self) -> nn.Module:
        """The embedding."""
        return self.model.embedding

    def get_output_embeddings(self) -> nn.Module:
        """The layer whose outputs are the logits."""
        return self.model.head

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *_: Any, **__: Any) -> nn.Module:
        """Change nothing, since `END` needs no embedding. Raises ValueError for more tokens."""
        if (new_num_tokens or 0) > self.config.vocab_size + 1:
            raise ValueError(f"the model knows {self.config.vocab_size} tokens and cannot learn more")
        return self.get_input_embeddings()

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        cache: WaveletGPTCache | None = None,
        past_key_values: WaveletGPTCache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **others: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (B, K, V) of the token that follows each of the last K of the ids; 0 at padding on the left.

        Args:
            input_ids: Ids (B, T), V for padding.
            attention_mask: 0 at padding, (B, T); with a cache also that of what it holds. None for no padding.
            labels: Ids (B, T) to predict, -100 where none is. Gives the loss, the mean cross-entropy.
            cache: What the ids continue.
            past_key_values: The name of `cache` before transformers 5.24.
            use_cache: Whether to return a cache, for later calls.
            logits_to_keep: K, or the positions in T to keep; 0 for all.
            others: `num_items_in_batch`, by which the loss is divided.

        Raises:
            ValueError: An argument is not supported, or padding is where it may not be.
        """
        if unsupported := [name for name in UNSUPPORTED if others.get(name) is not None and others[name] is not False]:
            raise ValueError(f"a waveletgpt model does not take {', '.join(unsupported)}")
        B, T = input_ids.shape
        cache = past_key_values if cache is None else cache
        if use_cache and cache is None:
            cache = WaveletGPTCache()
        padding = torch.zeros(B, dtype=torch.long, device=input_ids.device)
        if attention_mask is not None:
            real = attention_mask[:, -T:] != 0
            if cache is not None and not real[:, -1].all():
                raise ValueError(
                    "a cache cannot continue rows that end with padding; pad at the left (padding_side='left')"
                )
            padding = real.int().argmax(1)
        input_ids = input_ids.masked_fill(input_ids == self.config.vocab_size, 0)  # read for padding, and then ignored
        n_kept = logits_to_keep if isinstance(logits_to_keep, int) and logits_to_keep else T
        logits = self._read(input_ids, padding, cache, n_kept)
        if isinstance(logits_to_keep, Tensor):
            logits = logits[:, logits_to_keep]
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **others)
        return CausalLMOutputWithPast(loss, logits, cache)

    def _read(self, ids: Tensor, padding: Tensor, cache: WaveletGPTCache | None, n_kept: int) -> Tensor:
        """The last K = `n_kept` logits (B, K, V) of ids (B, T) that continue a cache, if there is one."""
        T = ids.shape[1]
        if cache is not None:
            cache.extend(ids, padding)
            ids, padding = cache.ids, cache.padding
        rows, parts = [], []
        for start in sorted(set(padding.tolist())):
            these = (padding == start).nonzero()[:, 0]
            own = ids[these, start:]
            if cache is None:
                logits = self._read_all(own, n_kept)
            elif T == 1 and start in cache.states and not self._is_full(own.shape[1] - 1):
                logits = self.model(own[:, -1:], cache.states[start])
            else:
                cache.states[start] = self.model.new_state(len(own))
                logits = self._read_all(own, n_kept, cache.states[start])
            rows.append(these)
            parts.append(F.pad(logits, (0, 0, n_kept - logits.shape[1], 0)))
        return torch.cat(parts)[torch.cat(rows).argsort()]

    def _is_full(self, length: int) -> bool:
        """Whether the context of `length` tokens has no room for another, so that half of it is read again."""
        block_size = self.config.max_position_embeddings
        return context_start(length, block_size) != context_start(length + 1, block_size)

    def _read_all(self, ids: Tensor, n_kept: int, state: DecodingState | None = None) -> Tensor:
        """The last K <= `n_kept` logits (N, K, V) of all ids (N, T). Their context goes into an empty `state`."""
        T, parts = ids.shape[1], []
        for start, first, end in windows(T, self.config.max_position_embeddings):
            kept = max(first, T - n_kept)
            if kept < end:
                logits = self.model(ids[:, start:end], state if end == T else None)
                parts.append(logits[:, kept - start :])
        return torch.cat(parts, dim=1)

    def save_pretrained(self, save_directory: str | Path, is_main_process: bool = True, **_: Any) -> None:
        """Write a checkpoint of this project, in half precision where that loses nothing, else in float32.

        Losses in `config.json` are kept only with the weights that they were measured for.
        """
        if not is_main_process:
            return
        directory, info = Path(save_directory), self.config.info
        exact = all(torch.equal(weight, weight.half().to(weight.dtype)) for weight in self.model.parameters())
        dtype = torch.float16 if exact else torch.float32
        save_checkpoint(directory, self.model, info, dtype=dtype, keep_others=True)
        if read_info(directory).weights_sha256 != info.weights_sha256:
            update_info(directory, losses={})


def _new_network(config: GPTConfig) -> GPT:
    """A new network on the CPU. from_pretrained asks for the device meta, where mixers cannot compute their levels."""
    with torch.device("cpu"):
        return GPT(config)


def _accept_names_of_a_checkpoint(_: nn.Module, weights: dict[str, Tensor], prefix: str, *__: Any) -> None:
    """Let `load_state_dict` take the contents of `model.safetensors`, which transformers' Trainer resumes from."""
    for name in [name for name in weights if not prefix and not name.startswith("model.")]:
        weights[f"model.{name}"] = weights.pop(name)


def _tensors(model: GPT) -> list[Tensor]:
    """All weights and buffers."""
    return [*model.parameters(), *model.buffers()]


class WaveletGPTTokenizer(PreTrainedTokenizerFast):  # type: ignore[misc]
    """The tokenizer of a checkpoint for text: a token for each character (`tokenizers.characters`), and `END`.

    Args:
        alphabet: The characters that the model knows; None to read them from `config_file`.
        replacement: Character that replaces all others; None refuses them, or does what `config_file` says.
        config_file: The checkpoint's `config.json`.
        settings: See transformers.
    """

    vocab_files_names = {"config_file": "config.json"}  # noqa: RUF012
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(
        self,
        alphabet: str | None = None,
        replacement: str | None = None,
        config_file: str | None = None,
        **settings: Any,
    ) -> None:
        if alphabet is None:
            description = json.loads(Path(config_file or "config.json").read_text("utf-8"))["tokenizer"]
            if description["kind"] != CharacterTokenizer.kind:
                raise ValueError(f"{config_file} is not for text; waveletgpt.load reads it")
            alphabet, replacement = description["alphabet"], replacement or description["replacement"]
        self.characters = CharacterTokenizer(alphabet, replacement)
        ids = {character: i for i, character in enumerate(alphabet)}
        backend = Backend(models.WordLevel(ids, unk_token=replacement or "<unk>"))
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        backend.decoder = decoders.Fuse()
        own = {"pad_token": END, "eos_token": END, "clean_up_tokenization_spaces": False}
        super().__init__(tokenizer_object=backend, alphabet=alphabet, replacement=replacement, **{**own, **settings})

    @property
    def bos_token_id(self) -> int:
        """The id that stands before a text, from which its first character is predicted. It is not added to texts."""
        return int(self.characters.start[0])

    def _encode_plus(self, text: Any, *arguments: Any, **settings: Any) -> Any:
        if self.characters.replacement is None:
            for one in [text] if isinstance(text, str) else text:
                if isinstance(one, str):
                    self.characters.encode(one.replace(END, ""))  # raises InputError outside of the alphabet
        return super()._encode_plus(text, *arguments, **settings)

    def save_vocabulary(self, *_: Any, **__: Any) -> tuple[str, ...]:
        """Write nothing: `tokenizer_config.json` holds the alphabet."""
        return ()


AutoConfig.register(MODEL_TYPE, WaveletGPTConfig)
AutoModelForCausalLM.register(WaveletGPTConfig, WaveletGPTForCausalLM)
AutoTokenizer.register(WaveletGPTConfig, WaveletGPTTokenizer)
