"""Levels and layers of a wavelet can be muted, and all engines agree on what is left."""

import pytest
import torch

from waveletgpt.common.errors import InputError
from waveletgpt.models.decoding import make_decoder
from waveletgpt.models.generation import generate, score
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.muting import levels_of, mute_words, muted

CONFIG = GPTConfig(vocab_size=20, block_size=32, n_layer=3, n_head=2, n_embd=16, n_hidden=32, n_levels=4)


def model(mixer: str) -> GPT:
    torch.manual_seed(1)
    built = GPT(GPTConfig(**{**CONFIG.__dict__, "mixer": mixer})).eval()
    with torch.no_grad():
        for weight in built.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return built


def seen(built: GPT, tokens: torch.Tensor) -> list[torch.Tensor]:
    """What each layer gives."""
    outputs: list[torch.Tensor] = []
    hooks = [one.register_forward_hook(lambda _m, _i, out: outputs.append(out.detach())) for one in built.mixers]
    built(tokens)
    for hook in hooks:
        hook.remove()
    return outputs


@pytest.mark.parametrize("mixer", ["haar", "learnable"])
@pytest.mark.parametrize(
    ("words", "layers", "levels"), [("4", {0, 1}, {4}), ("2:", {1}, {1, 2, 3, 4}), ("1:3,1:4", {0}, {3, 4})]
)
def test_only_what_is_named_is_silent(mixer: str, words: str, layers: set[int], levels: set[int]) -> None:
    whole, tokens = model(mixer), torch.randint(20, (2, 32))
    part = muted(whole, words)
    of = torch.tensor([0] * 8 + whole.mixers[0].levels.tolist())
    for number, out in enumerate(seen(part, tokens)):
        silent = (out == 0).all(dim=(0, 1))
        expected = torch.isin(of, torch.tensor([*levels])) if number in layers else torch.zeros(16, dtype=torch.bool)
        assert silent.equal(expected)
    first = min(layers)
    for before, after in zip(seen(whole, tokens)[:first], seen(part, tokens)[:first], strict=True):
        assert before.equal(after)
    assert not torch.allclose(whole(tokens), part(tokens))


@pytest.mark.parametrize("mixer", ["haar", "learnable"])
def test_engines_agree_on_what_is_left(mixer: str) -> None:
    part, prompt = muted(model(mixer), "3,2:4"), torch.randint(20, (1, 5))
    fused, eager = make_decoder(part, "fused"), make_decoder(part, "eager")
    torch.testing.assert_close(fused.read(prompt), eager.read(prompt), rtol=1e-4, atol=1e-5)
    for _ in range(20):
        token = torch.randint(20, (1,))
        torch.testing.assert_close(fused.step(token), eager.step(token), rtol=1e-4, atol=1e-5)
    steps = list(generate(part, prompt, 50, seed=2))  # past the end of a context
    ids = torch.cat([prompt[0], *(step.ids for step in steps)])
    written = torch.cat([step.log_probs for step in steps])
    torch.testing.assert_close(score(part, ids[None])[0, 5:], written, rtol=1e-3, atol=1e-4)


def test_nothing_named_is_the_model_itself() -> None:
    whole = model("haar")
    assert muted(whole, "") is whole and levels_of(whole) == [1, 2, 3, 4] and levels_of(model("none")) == []


def test_words_name_levels_and_layers() -> None:
    assert mute_words([], [3, 4]) == "3,4"
    assert mute_words([2], []) == "2:"
    assert mute_words([1, 2], [4]) == "1:4,2:4"


@pytest.mark.parametrize(
    ("mixer", "words", "told"),
    [
        ("haar", "5", "the levels are 1, 2, 3, 4"),
        ("haar", "3:1", "there is no layer 3"),
        ("haar", "0:1", "there is no layer 0"),
        ("haar", "all", "give a level such as 9"),
        ("haar", "1,,2", "give a level"),
        ("haar", ":", "give a level"),
        ("none", "1", "no levels to mute"),
        ("shift", "1", "no levels to mute"),
    ],
)
def test_what_is_not_there_is_refused(mixer: str, words: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        muted(model(mixer), words)
