"""The transport: what Python sends to it."""

import base64
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from gradio.utils import diff
from tones import LOUD, RATE, SECONDS, SOFT, sounds

from waveletgpt.app.web.transport import Sound, loudness, matching_gains, transport_value


def test_a_longer_sound_sends_only_what_was_added() -> None:
    shorter, longer = (transport_value(sounds(seconds), 1) for seconds in (1.5, 3.0))
    edits = diff(shorter, longer)
    assert {(edit, path[-1]) for edit, path, _ in edits} == {("append", "pcm")}
    assert sum(len(new) for *_, new in edits) == pytest.approx(2 * 1.5 * RATE * 2 * 4 / 3, rel=0.01)
    pcm = np.frombuffer(base64.b64decode(longer["cards"][1]["pcm"]), "<i2")
    assert np.abs(pcm / 32767 - sounds(3.0)[1].samples.numpy()[: len(pcm)]).max() < 1e-4


def test_cards_without_sound() -> None:
    value = transport_value([None, Sound("B", torch.zeros(2), RATE)], "x")
    assert value == {"version": "x", "cards": [None, None]}
    only = transport_value([None, sounds(1.0)[1]], "x")["cards"]
    assert only[0] is None and only[1]["gain"] == 1.0


def test_a_finished_sound_is_a_file(tmp_path: Path) -> None:
    card = transport_value(sounds(SECONDS, tmp_path), 1)["cards"][0]
    assert card["file"]["path"] == str(tmp_path / "A.wav") and card["seconds"] == SECONDS and "pcm" not in card


def test_gains_bring_both_to_the_quieter_one_without_counting_silence() -> None:
    loud, soft = (sound.samples for sound in sounds(2.0))
    assert loudness(loud, RATE) == pytest.approx(LOUD / math.sqrt(2), rel=1e-3)
    padded = torch.cat([torch.zeros(8 * RATE), soft])
    assert loudness(padded, RATE) == pytest.approx(loudness(soft, RATE), rel=1e-3)
    gains = matching_gains([loudness(loud, RATE), loudness(padded, RATE)])
    assert gains == [pytest.approx(SOFT / LOUD, rel=1e-3), 1.0]
    assert matching_gains([0.0, 0.5]) == [1.0, 1.0] and matching_gains([]) == []
    assert loudness(torch.zeros(0), RATE) == 0
