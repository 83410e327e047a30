"""Variants of a comparison: a mixer, and fields of the model that differ."""

from dataclasses import replace

import pytest

from waveletgpt.common.errors import InputError
from waveletgpt.models.gpt import GPTConfig
from waveletgpt.training.comparing.variants import parse_variant, parse_variants

MODEL = GPTConfig(vocab_size=7, block_size=64, n_layer=3, n_head=2, n_embd=16, n_hidden=32, n_levels=6)


def test_a_variant_is_a_mixer_and_the_fields_that_differ() -> None:
    variant = parse_variant("none:n_layer=12,positions=learned,dropout=0.1")
    assert variant.model(GPTConfig()) == GPTConfig(n_layer=12, positions="learned", dropout=0.1)
    assert variant.folder == "none-n_layer=12,positions=learned,dropout=0.1"
    assert parse_variant("haar").model(MODEL) == replace(MODEL, mixer="haar")
    assert list(parse_variants(("haar", "none", "haar"), MODEL)) == ["haar", "none"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("db4", "--mixers db4: mixer is 'db4'; choose one of none, haar"),
        ("", "mixer is ''; choose one of"),
        ("none:", "write NAME or NAME:FIELD=VALUE"),
        ("none:n_layer", "write NAME or NAME:FIELD=VALUE"),
        ("none:n_layer=", "write NAME or NAME:FIELD=VALUE"),
        ("none:=2", "write NAME or NAME:FIELD=VALUE"),
        ("none:n_layer=2,n_layer=3", "n_layer is set twice"),
        ("none:layers=2", "a model has no layers; it has n_layer"),
        ("none:n_layer=two", "n_layer is 'two'; it must be a whole number"),
        ("none:n_layer=2.5", "n_layer is 2.5; it must be a whole number"),
        ("none:n_layer=(2", "n_layer is '(2'"),
        ("none:dropout=high", "--mixers none:dropout=high: "),
        ("none:positions=absolute", "positions is 'absolute'; choose rope, half-rope or learned"),
        ("none:mixer=haar", "cannot change mixer"),
        ("none:vocab_size=9", "the prepared data decide it"),
        ("none:block_size=32", "do not compare"),
    ],
)
def test_a_invalid_variant_is_reported_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse_variants((text,), MODEL)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_model_that_cannot_be_and_two_that_are_the_same_are_refused() -> None:
    with pytest.raises(InputError, match=r"haar:n_levels=9: n_levels is 9, a window"):
        parse_variants(("none", "haar:n_levels=9"), MODEL)
    with pytest.raises(InputError, match="haar and haar:n_levels=6 are the same model"):
        parse_variants(("haar", "haar:n_levels=6"), MODEL)
