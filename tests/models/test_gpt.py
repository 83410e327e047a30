from dataclasses import replace
from typing import Any

import pytest
import torch

from waveletgpt.common.errors import InputError
from waveletgpt.models.filters.controls import CONTROLS
from waveletgpt.models.filters.keys import KEY_MIXERS
from waveletgpt.models.gpt import GPT, GPTConfig, rotate, rotation_table
from waveletgpt.models.mixers import ALL_MIXERS
from waveletgpt.models.wavelet import KINDS

torch.set_num_threads(1)

TINY = GPTConfig(vocab_size=11, block_size=32, n_layer=3, n_head=2, n_embd=8, n_hidden=12, n_levels=3)
EVERY_KIND = [
    *(pytest.param({"mixer": mixer}, marks=[pytest.mark.slow] * (mixer in CONTROLS)) for mixer in ALL_MIXERS),
    *({"mixer": mixer, "positions": "learned"} for mixer in KINDS),
    *(
        {"mixer": mixer, "site": site}
        for mixer in ("haar", "learnable", "multiscale")
        for site in ("keys-values", "both")
    ),
    *({"mixer": mixer, "site": "keys-values", "positions": "half-rope"} for mixer in ("none", *KEY_MIXERS)),
    {"mixer": "key-means", "site": "keys-values"},
]


def gpt(seed: int = 0, **changes: Any) -> GPT:
    """A tiny model whose weights are large enough that every part of it counts."""
    torch.manual_seed(seed)
    model = GPT(replace(TINY, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.4)
    return model


def with_free_kernels(model: GPT) -> GPT:
    """Change the learnable kernels at random, so that they differ from Haar's, and return the model."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "kernels" in name:
                parameter.mul_(2 * torch.rand_like(parameter))
    return model


@pytest.mark.parametrize("changes", EVERY_KIND)
def test_no_logit_depends_on_a_later_token(changes: dict[str, Any]) -> None:
    model = gpt(**changes)
    tokens = torch.randint(11, (2, 32))
    with torch.no_grad():
        logits = model(tokens)
        for t in (0, 3, 7, 8, 30):
            changed = tokens.clone()
            changed[:, t + 1 :] = (tokens[:, t + 1 :] + 1) % 11
            other = model(changed)
            torch.testing.assert_close(other[:, : t + 1], logits[:, : t + 1], rtol=1e-5, atol=1e-5)
            assert (other[:, t + 1] - logits[:, t + 1]).abs().max() > 0.01


@pytest.mark.parametrize("changes", EVERY_KIND)
def test_every_logit_depends_on_the_first_token(changes: dict[str, Any]) -> None:
    model = gpt(**changes)
    tokens = torch.randint(11, (1, 32))
    with torch.no_grad():
        change = model(tokens) - model(torch.cat([(tokens[:, :1] + 1) % 11, tokens[:, 1:]], dim=1))
    assert change.abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize(
    ("batch", "prefill"),
    [(3, 1), (1, 32), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((1, 5), (3, 20)))],
)
@pytest.mark.parametrize("changes", EVERY_KIND)
def test_cached_decoding_equals_the_full_pass(changes: dict[str, Any], prefill: int, batch: int) -> None:
    model = with_free_kernels(gpt(**changes))
    tokens = torch.randint(11, (batch, 32))
    with torch.inference_mode():
        full, state = model(tokens), model.new_state(batch)
        parts = [model(tokens[:, :prefill], state)]
        parts += [model(tokens[:, t : t + 1], state) for t in range(prefill, 32)]
    cached = torch.cat(parts, dim=1)
    assert state.length == int(state.time) == 32
    torch.testing.assert_close(cached, full, rtol=1e-5, atol=1e-5)
    assert torch.equal(cached.argmax(-1), full.argmax(-1))


@pytest.mark.parametrize("changes", EVERY_KIND)
def test_a_step_takes_its_position_from_the_device_alone(changes: dict[str, Any]) -> None:
    """A replayed CUDA graph does not update the lengths that Python counts, so this test keeps them constant."""
    model, tokens = with_free_kernels(gpt(**changes)), torch.randint(11, (2, 32))
    with torch.inference_mode():
        state = model.new_state(2)
        parts = [model(tokens[:, :3], state)]
        for t in range(3, 32):
            for one in (state, *(mixer for mixer in state.every_mixer() if mixer is not None)):
                one.length = 3
            parts.append(model(tokens[:, t : t + 1], state))
        torch.testing.assert_close(torch.cat(parts, dim=1), model(tokens), rtol=0, atol=1e-5)


@pytest.mark.parametrize("changes", EVERY_KIND)
def test_a_state_repeated_or_taken_over_continues_as_its_original(changes: dict[str, Any]) -> None:
    model, tokens = with_free_kernels(gpt(**changes)), torch.randint(11, (2, 32))
    with torch.inference_mode():
        state, taken = model.new_state(2), model.new_state(6)
        model(torch.randint(11, (6, 30)), taken)  # replaced by copy_ below
        model(tokens[:, :7], state)
        repeated = state.repeat(3)
        taken.copy_(repeated)
        for one in (repeated, taken, state):
            assert one.length == int(one.time) == 7
            streams = tokens.repeat(len(one.caches[0].keys) // 2, 1)
            parts = [model(streams[:, t : t + 1], one) for t in range(7, 32)]
            torch.testing.assert_close(torch.cat(parts, dim=1), model(streams)[:, 7:], rtol=0, atol=1e-5)


def test_a_state_refuses_what_does_not_fit() -> None:
    model = gpt()
    state = model.new_state(1)
    with torch.no_grad():
        model(torch.zeros(1, 5, dtype=torch.long), state)
        with pytest.raises(ValueError, match="one at a time"):
            model(torch.zeros(1, 2, dtype=torch.long), state)
        for _ in range(27):
            model(torch.zeros(1, 1, dtype=torch.long), state)
        with pytest.raises(ValueError, match="block_size 32"):
            model(torch.zeros(1, 1, dtype=torch.long), state)
        with pytest.raises(ValueError, match="33 positions do not fit in block_size 32"):
            model(torch.zeros(1, 33, dtype=torch.long))


@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_twins_begin_with_the_same_weights(positions: str) -> None:
    """Baseline and wavelet models of one seed differ only in their mixers."""
    weights = {}
    for mixer in KINDS:
        torch.manual_seed(7)
        weights[mixer] = GPT(replace(TINY, mixer=mixer, positions=positions)).state_dict()
    none, haar, learnable = weights["none"], weights["haar"], weights["learnable"]
    assert none.keys() == haar.keys()
    assert learnable.keys() - none.keys() == {"mixers.0.kernels", "mixers.1.kernels"}
    for name, weight in none.items():
        assert torch.equal(weight, haar[name])
        assert torch.equal(weight, learnable[name])


def test_learnable_starts_with_the_logits_of_haar_which_are_not_the_baseline_s() -> None:
    tokens = torch.randint(11, (2, 32))
    none, haar, learnable = (gpt(mixer=mixer)(tokens) for mixer in KINDS)
    torch.testing.assert_close(learnable, haar, rtol=0, atol=1e-5)
    assert (haar - none).abs().max() > 0.1


def test_initial_weights_have_the_documented_sizes() -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=2, mixer="learnable", positions="learned"))
    for name, weight in model.named_parameters():
        if name.startswith("mixers"):
            assert weight.min() == 2**-9
            assert weight.max() == 0.5
        elif name.endswith("norm.weight"):
            assert (weight == 1).all()
        elif name.endswith("norm.bias"):
            assert (weight == 0).all()
        else:
            into_residual = "attention.out" in name or "feed_forward.2" in name
            assert weight.std().item() == pytest.approx(0.01 if into_residual else 0.02, rel=0.05)


def test_between_blocks_and_not_after_the_last_there_is_a_mixer() -> None:
    for n_layer in (1, 2, 5):
        assert len(gpt(n_layer=n_layer, mixer="haar").mixers) == n_layer - 1


def test_rotary_positions_are_relative() -> None:
    """q . k depends on the distance between the positions, not on the positions themselves."""
    torch.manual_seed(0)
    table = rotation_table(200, 16)
    q, k = torch.randn(2, 1, 1, 1, 16)

    def score(position: int, other: int) -> float:
        a, b = rotate(q, table[:, position : position + 1]), rotate(k, table[:, other : other + 1])
        return float((a * b).sum())

    for distance in (0, 1, 7, 60):
        scores = [score(start + distance, start) for start in (0, 1, 50, 139)]
        assert max(scores) - min(scores) < 1e-4
    assert abs(score(0, 0) - score(60, 0)) > 0.1
    assert float(rotate(q, table[:, 77:78]).norm()) == pytest.approx(float(q.norm()), rel=1e-5)


def test_half_of_the_pairs_turn_as_those_of_a_head_of_half_the_size() -> None:
    table = rotation_table(9, 16, half=True)
    assert torch.equal(table[..., :4], rotation_table(9, 8))
    assert torch.equal(table[..., 4:], torch.tensor([1.0, 0.0])[:, None, None].expand(2, 9, 4))


def test_rotations_turn_each_pair_by_its_own_angle() -> None:
    table = rotation_table(4, 4, base=100.0)
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(1, 1, 4, 4)
    turned = rotate(x, table)
    for t in range(4):
        slow, fast = torch.tensor(t / 10.0), torch.tensor(float(t))
        expected = [
            fast.cos() * 1 - fast.sin() * 3,
            slow.cos() * 2 - slow.sin() * 4,
            fast.cos() * 3 + fast.sin() * 1,
            slow.cos() * 4 + slow.sin() * 2,
        ]
        torch.testing.assert_close(turned[0, 0, t], torch.stack(expected))


def test_the_model_tells_its_costs() -> None:
    """Counted by hand: embedding 11 x 8, head the same; a block has 4 x 8 x 8 of attention, 2 x 8 x 12 of
    feed-forward and two norms of 16; the last norm 16; learned positions 32 x 8; kernels of 2, 4, 4 (the levels
    1, 1.67, 2.33, 3 are rounded) and 8 positions.
    """
    body = 3 * (4 * 64 + 2 * 96 + 2 * 16) + 16
    assert gpt().n_parameters() == body + 2 * 88
    assert gpt(mixer="haar").n_parameters() == gpt().n_parameters()
    assert gpt(positions="learned").n_parameters() == body + 2 * 88 + 256
    assert gpt(mixer="learnable").n_parameters() == body + 2 * 88 + 2 * (2 + 4 + 4 + 8)
    attention = 12 * 3 * 8 * 32
    assert gpt().flops_per_token() == 6 * (body + 88) + attention
    assert gpt(positions="learned").flops_per_token() == gpt().flops_per_token()
    caches = gpt().new_state(5).caches
    held = sum(tensor.nbytes for cache in caches for tensor in (cache.keys, cache.values))
    assert gpt().cache_bytes(5) == held == 5 * 3 * 2 * 32 * 8 * 4


def test_the_paper_s_shape() -> None:
    assert (GPTConfig().n_layer, GPTConfig().n_embd, GPTConfig().block_size, GPTConfig().n_levels) == (
        10,
        128,
        512,
        9,
    )
    assert 1.9e6 < GPT(GPTConfig()).n_parameters() < 2.1e6


def test_dropout_acts_in_training_alone() -> None:
    model, tokens = gpt(dropout=0.5), torch.randint(11, (1, 20))
    assert torch.equal(model(tokens), model(tokens))
    assert torch.equal(model(tokens), gpt()(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))


@pytest.mark.parametrize("mixer", ALL_MIXERS)
def test_bfloat16_autocast_stays_near_float32(mixer: str) -> None:
    model, tokens = gpt(mixer=mixer), torch.randint(11, (2, 32))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(tokens)
    exact = model(tokens)
    assert (logits.float() - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("mixer", ALL_MIXERS)
def test_float64_models_compute_in_float64(mixer: str) -> None:
    model, tokens = gpt(mixer=mixer).double(), torch.randint(11, (2, 32))
    assert model(tokens).dtype == torch.float64
    torch.testing.assert_close(model(tokens).float(), gpt(mixer=mixer)(tokens), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mixer", ALL_MIXERS)
def test_every_weight_learns(mixer: str) -> None:
    model, tokens = gpt(mixer=mixer, positions="learned", site="both"), torch.randint(11, (2, 32))
    model(tokens).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"site": "values"}, "site"),
        ({"mixer": "key-offset"}, "site"),
        ({"mixer": "key-means", "site": "both"}, "site"),
        ({"mixer": "key-means", "site": "keys-values", "n_embd": 12}, "key-means needs a multiple of 4"),
        ({"positions": "half-rope", "n_embd": 12}, "half-rope needs a multiple of 4"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"vocab_size": True}, "vocab_size"),
        ({"block_size": -1}, "block_size"),
        ({"n_layer": 0}, "n_layer"),
        ({"n_layer": 2.0}, "n_layer"),
        ({"n_head": 0}, "n_head"),
        ({"n_head": 3}, "n_head"),
        ({"n_embd": 6}, "n_embd"),
        ({"n_hidden": None}, "n_hidden"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
        ({"mixer": "db4"}, "mixer"),
        ({"n_levels": 0}, "n_levels"),
        ({"n_levels": 6}, "n_levels"),
        ({"n_levels": 100_000}, "n_levels"),
        ({"n_levels": 10**30}, "n_levels"),
        ({"positions": "sinus"}, "positions"),
    ],
)
def test_impossible_settings_are_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as refusal:
        replace(TINY, **changes)
    assert field in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_the_longest_window_may_fill_the_context_exactly() -> None:
    assert replace(TINY, n_levels=5).n_levels == 5
    with pytest.raises(InputError, match="at most 5"):
        replace(TINY, n_levels=6)
