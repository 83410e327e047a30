"""The checkpoints in the repository are complete, small, correctly described, and have learned their data."""

import json
import math
import re
import runpy
from dataclasses import replace
from statistics import fmean, median

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from waveletgpt.app.checkpoints import SHIPPED, Library, find_checkpoints
from waveletgpt.app.instruments.novelty import find_index, novelty
from waveletgpt.app.modalities.base import load_modality
from waveletgpt.app.openings import opening
from waveletgpt.app.results import grow, remade
from waveletgpt.app.scoring import cross_score
from waveletgpt.app.web.components import default_checkpoints
from waveletgpt.common.modalities import MODALITIES
from waveletgpt.common.overlap import ANCHOR, LENGTHS, indexed_data
from waveletgpt.models.checkpoint import FILES, load_checkpoint, read_info
from waveletgpt.models.generation import generate
from waveletgpt.models.gpt import GPT
from waveletgpt.tokenizers.midi import MidiTokenizer
from waveletgpt.tokenizers.mulaw import MuLawTokenizer
from waveletgpt.tokenizers.piano.soundfont import render
from waveletgpt.tokenizers.registry import tokenizer_from_dict
from waveletgpt.training.preparing.composing import compose
from waveletgpt.training.quality.audio import AudioMeasures

NAMES = [entry.name for entry in find_checkpoints(SHIPPED)]
TEXT, MUSIC = ([name for name in NAMES if name.startswith(kind)] for kind in ("text", "music"))
MELODIES = ["audio-baseline", "audio-haar", "audio-learnable"]
RECORDED = ["audio-recorded-baseline", "audio-recorded-haar"]
LARGEST = 12_000_000  # bytes
COMMONEST = re.compile("the|of|and|to|a|in|he|was|that|his|it|i|had|with|as|for|her|not|you|at|on|be|she|him|is|but")
SENTENCE = (
    "It was the best of times, and it was the worst of times. She looked at him for a moment without speaking, and "
    "then went slowly out of the room; for she had been thinking of her father, and of the old house by the river."
)


def nats_per_token(model: GPT, ids: Tensor) -> float:
    """Mean loss of a model on ids (S,)."""
    ids = ids[: model.config.block_size + 1]
    with torch.inference_mode():
        return F.cross_entropy(model(ids[None, :-1])[0], ids[1:]).item()


def test_every_kind_of_data_has_a_baseline_and_a_wavelet() -> None:
    music = {"music-baseline", "music-haar", "music-learnable"}
    assert set(NAMES) >= {"text-baseline", "text-haar", "text-learnable", *MELODIES, *RECORDED, *music}


@pytest.mark.parametrize(
    ("modality", "pair"),
    [
        ("text", ["text-baseline", "text-learnable"]),
        ("audio", ["audio-baseline", "audio-learnable"]),
        ("music", ["music-baseline", "music-learnable"]),
    ],
)
def test_the_page_begins_with_a_baseline_and_the_best_wavelet_of_the_same_data(modality: str, pair: list[str]) -> None:
    assert default_checkpoints(Library(SHIPPED, modality).entries()) == pair


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_holds_its_four_files_and_says_what_it_is(name: str) -> None:
    directory = SHIPPED / name
    assert {path.name for path in directory.iterdir()} == set(FILES)
    assert sum(path.stat().st_size for path in directory.iterdir()) < LARGEST
    info = load_checkpoint(directory).info
    assert info == read_info(directory)  # so config.json holds the digest of the weights
    assert info.modality == name.partition("-")[0]
    assert info.model.mixer == {"baseline": "none"}.get(
        name.rsplit("-", maxsplit=1)[-1], name.rsplit("-", maxsplit=1)[-1]
    )
    assert info.tokens >= 5_000_000
    card = (directory / "README.md").read_text(encoding="utf-8")
    assert info.trained_on["licence"] in card and info.trained_on["source"] in card


@pytest.mark.parametrize("name", NAMES)
def test_the_metrics_end_where_the_configuration_says(name: str) -> None:
    info = load_checkpoint(SHIPPED / name).info
    lines = [json.loads(line) for line in (SHIPPED / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [set(line) for line in lines] == [{"step", "tokens", "seconds", "train_loss", "val_loss"}] * len(lines)
    assert lines[-1]["step"] == info.steps and lines[-1]["tokens"] == info.tokens
    settings = info.trained_on.get("settings", {})  # not written by the first versions
    begun = info.steps - settings["steps"] if settings.get("start_from") else 0
    assert lines[-1]["val_loss"] == min(line["val_loss"] for line in lines if line["step"] > begun)  # of the last stage
    is_published = "test" in info.losses  # then the loss is that of the whole split
    assert info.losses["val"] == pytest.approx(lines[-1]["val_loss"], rel=0.05 if is_published else 0)


@pytest.mark.parametrize("name", [name for name in MUSIC if "large" not in name])
def test_models_of_music_are_under_the_terms_of_maestro(name: str) -> None:
    card = (SHIPPED / name / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: cc-by-nc-sa-4.0\n")
    assert "non-commercial use only" in card


@pytest.mark.parametrize("name", TEXT)
def test_text_models_know_english(name: str) -> None:
    checkpoint = load_checkpoint(SHIPPED / name)
    ids = tokenizer_from_dict(checkpoint.info.tokenizer).encode(SENTENCE)
    shuffled = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))]
    assert nats_per_token(checkpoint.model, ids) / math.log(2) < 2.2  # bits per character; a uniform guess is 6.5
    assert nats_per_token(checkpoint.model, shuffled) / math.log(2) > 4


@pytest.mark.parametrize("name", RECORDED)
def test_audio_models_know_a_piano(name: str) -> None:
    checkpoint = load_checkpoint(SHIPPED / name)
    tokenizer = tokenizer_from_dict(checkpoint.info.tokenizer)
    piano = tokenizer.encode(render(compose(seed=3, seconds=4.0), 16_000))[16_000:]
    noise = tokenizer.encode(0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(0)))
    assert nats_per_token(checkpoint.model, piano) / math.log(2) < 5  # bits per sample; a uniform guess is 8
    assert nats_per_token(checkpoint.model, noise) / math.log(2) > 6


@pytest.mark.parametrize("name", MUSIC)
def test_music_models_know_tonal_music(name: str) -> None:
    checkpoint = load_checkpoint(SHIPPED / name)
    tokenizer = tokenizer_from_dict(checkpoint.info.tokenizer)
    piece = tokenizer.encode(compose(seed=3, seconds=60.0))
    shuffled = piece[torch.randperm(len(piece), generator=torch.Generator().manual_seed(0))]
    assert nats_per_token(checkpoint.model, piece) < 3.5  # nats per event; a uniform guess is 5.96
    assert nats_per_token(checkpoint.model, shuffled) > nats_per_token(checkpoint.model, piece) + 1


def made(name: str, count: int, *, samples: int = 1, temperature: float = 1.0) -> list[Tensor]:
    """The ids (count,) of each sample that a checkpoint generates without a prompt."""
    checkpoint = load_checkpoint(SHIPPED / name)
    start = tokenizer_from_dict(checkpoint.info.tokenizer).start.expand(samples, -1)
    steps = generate(checkpoint.model, start, count, temperature=temperature)
    return list(torch.stack([step.ids for step in steps], dim=1))


@pytest.mark.parametrize("name", TEXT)
def test_text_models_write_english_words(name: str) -> None:
    tokenizer = tokenizer_from_dict(load_checkpoint(SHIPPED / name).info.tokenizer)
    words = re.findall(r"[a-z]+", tokenizer.decode(made(name, 600, temperature=0.8)[0]).lower())
    assert sum(COMMONEST.fullmatch(word) is not None for word in words) > 0.25 * len(words)


@pytest.mark.slow
def test_the_wavelet_model_makes_sound_with_a_pitch() -> None:
    pitch = runpy.run_path(str(SHIPPED.parent / "benchmarks" / "pitch.py"))
    found = pitch["measure"](SHIPPED / "audio-recorded-haar", temperature=0.85, length=4000, samples=2)
    assert median(found) > 0.4 > pitch["periodicity"](pitch["filtered_noise"]())


@pytest.mark.parametrize("name", ["audio-learnable", pytest.param("audio-baseline", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("seconds", "clips"), [(1, 2), pytest.param(2, 10, marks=pytest.mark.slow)])
def test_melodies_have_notes(name: str, seconds: int, clips: int) -> None:
    """In 8 of 10 clips with the settings of the page, at least two steady notes in tune can be told."""
    info = read_info(SHIPPED / name)
    tokenizer = tokenizer_from_dict(info.tokenizer)
    assert isinstance(tokenizer, MuLawTokenizer)
    ids = made(name, seconds * tokenizer.sample_rate, samples=clips, temperature=info.sampling["temperature"])
    measured = [AudioMeasures(tokenizer).numbers(clip) for clip in ids]
    assert fmean(clip["steady"] for clip in measured) > 0.5
    if clips == 10:
        assert sum(clip["two_notes_or_more"] for clip in measured) >= 8


@pytest.mark.parametrize("name", MUSIC)
def test_music_models_play_chords(name: str) -> None:
    notes = MidiTokenizer().decode(made(name, 600)[0]).tracks[0].notes.numpy()
    sounding = [((notes["time"] <= t) & (t < notes["time"] + notes["duration"])).sum() for t in notes["time"]]
    assert len(notes["time"]) > 60
    assert sum(count >= 3 for count in sounding) > 0.25 * len(sounding)


@pytest.mark.parametrize("name", MODALITIES)
def test_each_tab_opens_with_what_its_checkpoints_write(name: str) -> None:
    """Of the first 1,000 tokens, which a shorter recipe gives as well."""
    modality, entries = load_modality(name), Library(SHIPPED, name).entries()
    results = opening(modality, entries)
    assert [result and result.name for result in results] == default_checkpoints(entries)
    for result in results:
        assert result and result.completion.done
        shorter = replace(result.recipe, lengths=(min(1000, result.completion.written),))
        *_, (again,) = grow([remade(modality, entries, shorter)])
        assert again and again.completion.new.equal(result.completion.new[:1000])
    if name != "audio":  # a minute of work there
        *_, scored = cross_score([result and replace(result, by_other=None) for result in results])
        for one, result in zip(scored, results, strict=True):
            assert one and result and one.nats_by_other == pytest.approx(result.nats_by_other, abs=0.01)


@pytest.mark.parametrize("name", MODALITIES)
def test_the_index_of_the_training_data_ships(name: str) -> None:
    """What the tab opens with can be compared, and held-out passages share more the longer they are."""
    modality, entries = load_modality(name), Library(SHIPPED, name).entries()
    for result in opening(modality, entries):
        assert result
        index = find_index(result.loaded)
        found = novelty(index, result.loaded, result.completion.new)
        assert index.modality == name and len(index.units) > 1_000_000
        assert found.shared <= 3 * found.usual[2] and (name == "audio" or found.shared >= ANCHOR)
        medians = [middle for _, middle, _ in index.usual]
        assert len(medians) == len(LENGTHS) and medians == sorted(medians)


@pytest.mark.parametrize("name", NAMES)
def test_every_checkpoint_has_an_index(name: str) -> None:
    wanted = read_info(SHIPPED / name).trained_on["sha256"]
    assert any(wanted in indexed_data(path) for path in (SHIPPED / "seen").glob("*.safetensors"))
