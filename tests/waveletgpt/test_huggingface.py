"""Checkpoints beside transformers: the same logits, scores, greedy text and files as our own."""

import importlib.util
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny import write_tiny
from torch import Tensor
from torch.nn import functional as F

from waveletgpt.models.checkpoint import CheckpointInfo, load_checkpoint, read_info, save_checkpoint
from waveletgpt.models.filters.controls import CONTROLS
from waveletgpt.models.generation import generate, score
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.mixers import ALL_MIXERS
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.tokenizers.mulaw import MuLawTokenizer

if not importlib.util.find_spec("transformers"):
    pytest.skip("transformers is not installed", allow_module_level=True)

ALPHABET = "\n !<>abcdefghijklmnop\u00e9"
V, BLOCK = len(ALPHABET), 16
SHAPE = GPTConfig(vocab_size=V, block_size=BLOCK, n_layer=2, n_head=2, n_embd=8, n_hidden=12, n_levels=3)
EVERYWHERE = [
    *(
        pytest.param({"mixer": mixer, "site": site}, marks=[pytest.mark.slow] * (mixer in CONTROLS))
        for mixer in ALL_MIXERS
        for site in ("stream", "both")
    ),
    {"mixer": "haar", "site": "keys-values"},
    {"mixer": "learnable", "positions": "learned"},
    {"mixer": "dyadic", "positions": "learned"},
]
LONG = 2 * BLOCK + 5


def huggingface() -> Any:
    """The module. It takes seconds to import, so not while tests are collected."""
    return importlib.import_module("waveletgpt.huggingface")


def wrapped(seed: int = 0, **changes: Any) -> Any:
    """An untrained model for transformers."""
    torch.manual_seed(seed)
    config = huggingface().WaveletGPTConfig(model=asdict(replace(SHAPE, **changes)))
    return huggingface().WaveletGPTForCausalLM(config).eval()


def model_of(folder: Path) -> Any:
    """What transformers makes of a checkpoint."""
    huggingface()
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


def tokenizer_of(folder: Path, **settings: Any) -> Any:
    """What transformers makes of a checkpoint's tokenizer."""
    huggingface()
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, **settings)


def ids_of(rows: int, length: int, seed: int = 0) -> Tensor:
    """Random ids (rows, length)."""
    return torch.randint(V, (rows, length), generator=torch.Generator().manual_seed(seed))


def greedy(model: GPT, prompt: Tensor, length: int) -> Tensor:
    """The prompt and what our own `generate` adds to it."""
    steps = generate(model, prompt, length, temperature=0)
    return torch.cat([prompt, torch.stack([step.ids for step in steps], dim=1)], dim=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for text."""
    return write_tiny(tmp_path_factory.mktemp("text") / "c", "text", CharacterTokenizer(ALPHABET), "learnable")


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("changes", EVERYWHERE, ids=lambda changes: "-".join(changes.values()))
def test_a_checkpoint_gives_the_same_logits(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = replace(SHAPE, **changes)
    torch.manual_seed(1)
    save_checkpoint(tmp_path / "c", GPT(config), CheckpointInfo("text", config, CharacterTokenizer(ALPHABET).to_dict()))
    ours = load_checkpoint(tmp_path / "c").model
    theirs = model_of(tmp_path / "c")
    assert not theirs.training
    assert theirs.dtype == torch.float32
    ids = ids_of(3, BLOCK)
    assert torch.equal(theirs(ids).logits, ours(ids))
    for (name, buffer), (_, expected) in zip(theirs.model.named_buffers(), ours.named_buffers(), strict=True):
        assert torch.equal(buffer, expected), name


@pytest.mark.parametrize("changes", EVERYWHERE, ids=lambda changes: "-".join(changes.values()))
def test_with_a_cache_the_logits_are_those_of_a_full_pass(changes: dict[str, Any]) -> None:
    model, ids = wrapped(**changes), ids_of(2, LONG)
    full = model(ids).logits
    cache, parts, at = None, [], 0
    for length in (5, *[1] * (BLOCK + 2), 3, *[1] * (LONG - BLOCK - 10)):  # past the context twice
        output = model(ids[:, at : at + length], past_key_values=cache, use_cache=True)
        cache, at = output[1], at + length
        parts.append(output.logits)
    assert at == LONG == cache.get_seq_length()
    torch.testing.assert_close(torch.cat(parts, dim=1), full, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mixer", ["none", "haar", "learnable"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_text_is_ours_past_the_context_too(mixer: str, use_cache: bool) -> None:
    model, prompts = wrapped(mixer=mixer), ids_of(2, 5)
    settings = {"max_new_tokens": LONG, "do_sample": False, "use_cache": use_cache}
    assert torch.equal(model.generate(prompts, **settings), greedy(model.model, prompts, LONG))
    long = ids_of(1, LONG)  # the prompt does not fit into the context
    assert torch.equal(model.generate(long, **settings), greedy(model.model, long, LONG))


def test_likelihoods_are_our_scores_past_the_context_too() -> None:
    model, ids = wrapped(mixer="haar"), ids_of(2, LONG)
    log_probs = model(ids).logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(log_probs, score(model.model, ids)[:, 1:], rtol=0, atol=1e-6)
    last = model(ids, logits_to_keep=3).logits
    torch.testing.assert_close(last, model(ids).logits[:, -3:])
    torch.testing.assert_close(model(ids, logits_to_keep=torch.tensor([0, 7])).logits, model(ids).logits[:, [0, 7]])


def test_the_loss_is_the_mean_over_the_labels() -> None:
    model, ids = wrapped(mixer="haar"), ids_of(2, BLOCK)
    labels = ids.masked_fill(torch.arange(BLOCK) < 4, -100)
    expected = F.cross_entropy(model(ids).logits[:, 3:-1].flatten(0, 1), ids[:, 4:].flatten())
    torch.testing.assert_close(model(ids, labels=labels).loss, expected)
    loss, logits = model(ids, labels=labels, return_dict=False)
    assert loss == model(ids, labels=labels).loss
    assert logits.shape == (2, BLOCK, V)


def test_padding_changes_nothing() -> None:
    model, (a, b, c) = wrapped(mixer="learnable"), (ids_of(1, length)[0] for length in (5, 9, 9))
    alone = [model(row[None]).logits[0] for row in (a, b, c)]
    pad = V  # the id of the padding, which the network does not know
    for side in ("left", "right"):
        rows = torch.full((3, 9), pad)
        at = slice(4, None) if side == "left" else slice(5)
        rows[0, at], rows[1], rows[2] = a, b, c
        logits = model(rows, attention_mask=(rows != pad).long()).logits
        torch.testing.assert_close(logits[0, at], alone[0])
        torch.testing.assert_close(logits[1:], torch.stack(alone[1:]))
        if side == "left":
            assert not logits[0, :4].any()


def test_rows_padded_at_the_left_are_continued_as_if_alone() -> None:
    model, (a, b) = wrapped(mixer="haar"), (ids_of(1, length, seed=length) for length in (5, 9))
    rows = torch.cat([F.pad(a, (4, 0), value=V), b])
    made = model.generate(rows, attention_mask=(rows != V).long(), max_new_tokens=LONG, do_sample=False)
    assert torch.equal(made[:1, 4:], greedy(model.model, a, LONG))
    assert torch.equal(made[1:], greedy(model.model, b, LONG))


def test_a_row_that_is_finished_does_not_change_the_others() -> None:
    model, prompts = wrapped(mixer="haar"), ids_of(2, 5)
    expected = greedy(model.model, prompts, LONG)
    end = next(int(i) for i in expected[0, 5:] if i not in expected[1, 5:])
    settings = {"max_new_tokens": LONG, "do_sample": False, "eos_token_id": end, "pad_token_id": V}
    made = model.generate(prompts, **settings)
    assert torch.equal(made[1], expected[1])
    written = int((expected[0, 5:] == end).int().argmax()) + 6
    assert made[0].tolist() == expected[0, :written].tolist() + [V] * (len(made[0]) - written)


def test_sampling_beams_and_several_results() -> None:
    model, prompt = wrapped(mixer="learnable"), ids_of(2, 5)
    torch.manual_seed(0)
    drawn = model.generate(prompt, max_new_tokens=20, do_sample=True, num_return_sequences=3)
    assert drawn.shape == (6, 25)
    assert torch.equal(drawn[:, :5], prompt.repeat_interleave(3, 0))
    assert len(drawn.unique(dim=0)) == 6
    beams = {"max_new_tokens": 20, "num_beams": 3, "do_sample": False}
    assert torch.equal(model.generate(prompt, **beams), model.generate(prompt, **beams, use_cache=False))


def test_a_cache_is_continued_by_generate() -> None:
    model, ids = wrapped(mixer="learnable"), ids_of(1, 12)
    cache = model(ids[:, :8], use_cache=True)[1]
    made = model.generate(ids, past_key_values=cache, max_new_tokens=9, do_sample=False)
    assert torch.equal(made, greedy(model.model, ids, 9))


def test_what_is_not_supported_is_refused() -> None:
    model, ids = wrapped(), ids_of(2, 6)
    mask = torch.ones_like(ids)
    mask[0, -2:] = 0
    with pytest.raises(ValueError, match="pad at the left"):
        model(ids, attention_mask=mask, use_cache=True)
    cache = model(ids, use_cache=True)[1]
    with pytest.raises(ValueError, match="between the cached tokens and the new ones"):
        model(ids, attention_mask=torch.cat([mask, mask.flip(1)], 1), past_key_values=cache)
    with pytest.raises(ValueError, match="does not take inputs_embeds, output_attentions"):
        model(ids, inputs_embeds=torch.zeros(2, 6, 8), output_attentions=True)
    with pytest.raises(ValueError, match="cannot learn more"):
        model.resize_token_embeddings(V + 2)
    with pytest.raises(ValueError, match="assisted generation is not supported"):
        model.generate(ids[:1], assistant_model=wrapped(), max_new_tokens=3)


def test_what_transformers_saves_is_a_checkpoint_of_ours(folder: Path, tmp_path: Path) -> None:
    model = model_of(folder)
    model.save_pretrained(tmp_path / "same")
    assert read_info(tmp_path / "same") == read_info(folder)  # with the digest of the weights
    model.model.head.weight.mul_(1.1)  # no longer in half precision
    model.save_pretrained(tmp_path / "trained")
    ours, again = load_checkpoint(tmp_path / "trained"), model_of(tmp_path / "trained")
    ids = ids_of(2, 20)
    assert torch.equal(ours.model(ids), model(ids).logits)
    assert torch.equal(again(ids).logits, model(ids).logits)
    trained = load_file(tmp_path / "trained" / "model.safetensors")  # as the Trainer does to resume
    assert not any(model_of(folder).load_state_dict(trained, strict=False)[0])
    assert ours.info.losses == {}
    assert ours.info.tokenizer == read_info(folder).tokenizer


@given(st.text(ALPHABET))
def test_text_to_ids_and_back(text: str) -> None:
    for tokenizer in tokenizers():
        ids = tokenizer(text).input_ids
        assert ids == CharacterTokenizer(ALPHABET).encode(text).tolist()
        assert tokenizer.decode(ids) == tokenizer.decode(ids, skip_special_tokens=True) == text


@cache
def tokenizers() -> list[Any]:
    """One that refuses characters outside the alphabet, and one that replaces them."""
    return [huggingface().WaveletGPTTokenizer(ALPHABET, replacement) for replacement in (None, "e")]


def test_characters_outside_the_alphabet_are_replaced_or_refused(folder: Path) -> None:
    refuses, replaces = tokenizers()
    text = "ab\u00fc <end>\U0001f3b5\r\n"
    assert replaces.decode(replaces(text).input_ids) == "abe <end>ee\n"
    assert replaces(text).input_ids == CharacterTokenizer(ALPHABET, "e").encode(text).tolist()
    with pytest.raises(ValueError, match="'\u00fc' at position 2 is not in the alphabet"):
        refuses(["a", text])
    lenient = tokenizer_of(folder, replacement=" ")
    assert lenient.decode(lenient("a\u00fcb").input_ids) == "a b"


def test_the_tokenizer_of_a_checkpoint_is_found_by_its_configuration(folder: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(folder)
    batch = tokenizer(["ab\n", "abcde"], return_tensors="pt", padding=True, padding_side="left")
    assert batch.input_ids.tolist() == [[V, V, *tokenizer("ab\n").input_ids], tokenizer("abcde").input_ids]
    assert batch.attention_mask.tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert tokenizer.bos_token_id == ALPHABET.index("\n")
    tokenizer.save_pretrained(tmp_path / "alone")
    model_of(folder).save_pretrained(tmp_path / "both")
    tokenizer.save_pretrained(tmp_path / "both")
    for place in ("alone", "both"):
        again = tokenizer_of(tmp_path / place)
        assert again.decode(again("ab\n <end>").input_ids) == "ab\n <end>"
        assert again.bos_token_id == tokenizer.bos_token_id
    load_checkpoint(tmp_path / "both")


def test_only_text_has_a_tokenizer(tmp_path: Path) -> None:
    write_tiny(tmp_path / "sound", "audio", MuLawTokenizer(sample_rate=4000), "none")
    with pytest.raises(ValueError, match=r"is not for text; waveletgpt\.load reads it"):
        tokenizer_of(tmp_path / "sound")


@pytest.mark.skipif(not importlib.util.find_spec("peft"), reason="peft is not installed")
def test_peft_trains_an_adapter_and_merges_it(folder: Path, tmp_path: Path) -> None:
    import peft

    model = model_of(folder)
    config = peft.LoraConfig(r=2, target_modules=["qkv", "out"], task_type="CAUSAL_LM")
    adapted, ids = peft.get_peft_model(model, config), ids_of(2, 20)
    with torch.enable_grad():
        optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=1.0)
        losses = []
        for _ in range(5):
            loss = adapted(input_ids=ids, labels=ids).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    assert losses[-1] < losses[0]
    adapted.eval()
    made = adapted.generate(input_ids=ids, max_new_tokens=60, do_sample=False)
    adapted.save_pretrained(tmp_path / "adapter")
    again = model_of(tmp_path / "adapter")  # reads the base model beside it
    torch.testing.assert_close(again(ids).logits, adapted(input_ids=ids).logits)
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    merged = load_checkpoint(tmp_path / "merged").model
    torch.testing.assert_close(merged(ids), again(ids).logits, rtol=1e-4, atol=1e-5)
    assert torch.equal(made, greedy(merged, ids, 60))
