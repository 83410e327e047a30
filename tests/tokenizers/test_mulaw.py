import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from waveletgpt.common.errors import InputError
from waveletgpt.tokenizers.mulaw import MuLawTokenizer

ROUNDING = 1e-6  # float32's error in the companded domain, whose range is -1 to 1
level_counts = st.sampled_from([2, 3, 16, 255, 256, 1024])
# Samples spread evenly over the range, and samples of every magnitude down to 2**-40, where mu-law is finest.
samples = st.one_of(
    st.floats(-1, 1, width=32),
    st.builds(lambda sign, exponent: sign * 2.0**exponent, st.sampled_from([-1, 1]), st.floats(-40, 0)),
)
waveforms = hnp.arrays(np.float32, st.integers(1, 100), elements=samples.map(lambda x: float(np.float32(x))))


def compand(x: torch.Tensor, mu: int) -> torch.Tensor:
    """The textbook formula of mu-law, in float64."""
    return x.sign() * (1 + mu * x.abs()).log() / math.log(1 + mu)


def assert_within_half_a_step(x: torch.Tensor, levels: int) -> None:
    tokenizer, mu = MuLawTokenizer(levels=levels), levels - 1
    y = tokenizer.decode(tokenizer.encode(x)).double()
    x = x.double()
    assert (compand(y, mu) - compand(x, mu)).abs().max() <= 1 / mu + ROUNDING
    bound = (1 / mu + x.abs()) * ((1 + mu) ** (1 / mu) - 1)
    assert ((y - x).abs() <= bound + ROUNDING).all()


@settings(deadline=None)
@given(waveforms, level_counts)
def test_the_error_is_at_most_half_a_quantisation_step(waveform: np.ndarray, levels: int) -> None:
    assert_within_half_a_step(torch.from_numpy(waveform), levels)


def test_the_bound_holds_all_over_the_range_and_is_reached() -> None:
    x = torch.linspace(-1, 1, 200_001)
    assert_within_half_a_step(x, 256)
    tokenizer = MuLawTokenizer()
    y = tokenizer.decode(tokenizer.encode(x))
    assert (compand(y, 255) - compand(x, 255)).abs().max() > 0.99 / 255
    assert (y - x).abs().max() < 0.0221  # the 0.000086 + 0.022 |x| of the docstring, at |x| = 1


@pytest.mark.parametrize("levels", [2, 3, 255, 256, 1024, 65536])
def test_every_id_comes_back_as_itself(levels: int) -> None:
    tokenizer = MuLawTokenizer(levels=levels)
    ids = torch.arange(levels)
    waveform = tokenizer.decode(ids)
    assert waveform.dtype == torch.float32
    assert tokenizer.encode(waveform).equal(ids)
    assert (waveform.diff() > 0).all()
    assert (waveform[0], waveform[-1]) == (-1, 1)


def test_the_levels_are_those_of_the_formula() -> None:
    companded = torch.arange(256, dtype=torch.float64) / 255 * 2 - 1
    expected = companded.sign() * (256 ** companded.abs() - 1) / 255
    assert torch.allclose(MuLawTokenizer().decode(torch.arange(256)).double(), expected, atol=1e-6)


@settings(deadline=None)
@given(hnp.arrays(np.float32, 50, elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_what_is_too_loud_is_clipped(waveform: np.ndarray) -> None:
    tokenizer = MuLawTokenizer()
    clipped = torch.from_numpy(waveform.clip(-1, 1))
    assert tokenizer.encode(torch.from_numpy(waveform)).equal(tokenizer.encode(clipped))


def test_an_unprompted_sound_starts_with_the_id_of_silence() -> None:
    start = MuLawTokenizer().start
    assert start.tolist() == [128]
    assert start.dtype == torch.int64
    assert MuLawTokenizer().decode(start).abs() < 1e-4


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_samples_that_are_no_numbers_are_refused_with_their_position(broken: float) -> None:
    with pytest.raises(InputError, match="sample 2 "):
        MuLawTokenizer().encode(torch.tensor([0.0, 0.5, broken, broken]))


@pytest.mark.parametrize("waveform", [torch.zeros(2, 3), torch.tensor(0.0), torch.tensor([1, 2])])
def test_what_is_no_waveform_is_refused(waveform: torch.Tensor) -> None:
    with pytest.raises(InputError, match="waveform"):
        MuLawTokenizer().encode(waveform)


@pytest.mark.parametrize("ids", [torch.tensor([3, 256]), torch.tensor([-1]), torch.zeros(1, 1).long(), torch.zeros(1)])
def test_what_are_no_levels_is_refused(ids: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"ids? "):
        MuLawTokenizer().decode(ids)


@pytest.mark.parametrize("settings", [{"levels": 1}, {"levels": 2.5}, {"levels": 1 << 17}, {"sample_rate": 0}])
def test_bad_settings_are_refused_by_name(settings: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        MuLawTokenizer(**settings)


def test_a_tokenizer_survives_json() -> None:
    tokenizer = MuLawTokenizer(sample_rate=8000, levels=64)
    assert MuLawTokenizer.from_dict(json.loads(json.dumps(tokenizer.to_dict()))) == tokenizer
    assert tokenizer.vocab_size == 64
