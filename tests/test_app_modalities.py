"""Each modality from a prompt to a result, and the figures."""

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from symusic.core import ScoreTick

import waveletgpt.app
from waveletgpt.app.checkpoints import Loaded, load
from waveletgpt.app.figures import Notes, as_html, piano_roll_figure, sound_figure
from waveletgpt.app.markup import sheet
from waveletgpt.app.modalities import MODALITIES, load_modality
from waveletgpt.app.modality import Modality
from waveletgpt.app.streaming import Sampling, Take, stream
from waveletgpt.common.errors import InputError


def loaded(tiny_checkpoints: Path, name: str) -> tuple[Modality[Any], Loaded]:
    modality = load_modality(name)
    return modality, load(tiny_checkpoints / f"{name}-haar", name, modality.tokenizer_kind)


def finished(modality: Modality[Any], one: Loaded, prompt: str | Path | None, length: float) -> Take:
    *_, ((take,),) = stream([modality.job(one, prompt, length, modality.keep.default)], Sampling())
    return take


def test_text_continues_a_prompt(tiny_checkpoints: Path, tmp_path: Path) -> None:
    modality, one = loaded(tiny_checkpoints, "text")
    take = finished(modality, one, "Hello ", 30)
    text = modality.facts(take, one.tokenizer)["text"]
    assert text.startswith("Hello ") and len(text) == 36
    modality.write(take, one.tokenizer, tmp_path / "story.md")
    assert (tmp_path / "story.md").read_text() == text
    (tmp_path / "prompt.txt").write_text("Hello ")
    assert finished(modality, one, tmp_path / "prompt.txt", 30).ids.equal(take.ids)


def test_text_is_shown_as_it_is_whatever_it_holds() -> None:
    html = sheet("<b>", "${1 + 1} {{value}} `\\", writing=True)
    assert '<span class="prompt">&lt;b&gt;</span>' in html and "cursor" in html
    assert not set("$`{}\\") & set(html.replace("&#36;", "").replace("&#123;", ""))


def test_the_example_is_in_every_alphabet() -> None:
    text = load_modality("text")
    assert text.example([{"alphabet": " Iabcistw"}]).startswith("It was")
    assert text.example([{"alphabet": " Iabcistw"}, {"alphabet": " abcistw"}]).startswith("it was")
    assert text.example([{"alphabet": "xyz"}]) == ""


def test_audio_keeps_the_end_of_the_prompt(tiny_checkpoints: Path, sound_file: Path, tmp_path: Path) -> None:
    modality, one = loaded(tiny_checkpoints, "audio")
    rate = one.tokenizer.sample_rate
    job = modality.job(one, sound_file, 0.1, 0.5)
    assert len(job.prompt) == 0.5 * rate and job.length == 0.1 * rate
    *_, ((take,),) = stream([job], Sampling())
    modality.write(take, one.tokenizer, tmp_path / "a.wav")
    samples, written_rate = soundfile.read(tmp_path / "a.wav")
    assert written_rate == rate and len(samples) == 0.6 * rate
    spectrum = np.abs(np.fft.rfft(samples[:1000]))
    assert np.argmax(spectrum) * rate / 1000 == 440
    assert modality.facts(take, one.tokenizer) == {
        "seconds": 0.6,
        "prompt_seconds": 0.5,
        "sample_rate": rate,
    }


def test_music_continues_a_midi_file(tiny_checkpoints: Path, midi_file: Path, tmp_path: Path) -> None:
    modality, one = loaded(tiny_checkpoints, "music")
    take = finished(modality, one, midi_file, 60)
    modality.write(take, one.tokenizer, tmp_path / "a.mid")
    notes = ScoreTick(tmp_path / "a.mid").tracks[0].notes
    assert [note.pitch for note in notes[:8]] == [60, 62, 64, 65, 67, 69, 71, 72]
    modality.write(take, one.tokenizer, tmp_path / "a.wav")
    samples, rate = soundfile.read(tmp_path / "a.wav")
    facts = modality.facts(take, one.tokenizer)
    assert len(samples) / rate == pytest.approx(facts["seconds"], abs=0.5) and np.abs(samples).max() > 0.01
    assert facts["notes"] == len(notes) and facts["prompt_seconds"] == pytest.approx(3.9, abs=0.05)


@pytest.mark.parametrize("name", MODALITIES)
def test_without_a_prompt_the_start_is_not_part_of_the_result(tiny_checkpoints: Path, name: str) -> None:
    modality, one = loaded(tiny_checkpoints, name)
    take = finished(modality, one, None, 0.05 if name == "audio" else 20)
    assert take.prompted == 0 and len(take.ids) == take.wanted
    facts = modality.facts(take, one.tokenizer)
    assert {key: kind for key, kind in modality.fact_types.items() if key in facts} == modality.fact_types
    for part in (Take(take.ids[:0], 0, take.wanted), take):
        assert modality.view(part, one.tokenizer).startswith("<")


@pytest.mark.parametrize("name", MODALITIES)
@pytest.mark.parametrize("length", [0, -1, float("nan"), float("inf")])
def test_impossible_lengths(tiny_checkpoints: Path, name: str, length: float) -> None:
    modality, one = loaded(tiny_checkpoints, name)
    with pytest.raises(InputError, match="must be above 0"):
        modality.job(one, None, length, 1)


def test_unknown_modality() -> None:
    with pytest.raises(InputError, match="choose one of text, audio, music"):
        load_modality("video")


def test_sound_figure_has_time_in_seconds_and_frequency_in_khz() -> None:
    figure = sound_figure(np.zeros(3000, np.float32), 2000, boundary=0.5, total=4.0)
    wave, spectrum = figure.axes
    assert spectrum.get_xlabel() == "seconds" and spectrum.get_ylabel() == "kHz"
    assert spectrum.get_ylim() == (0, 1.0)
    assert wave.get_xlim() == spectrum.get_xlim() == (0, 4.0)  # grows within its final extent
    assert [line.get_xdata()[0] for line in wave.lines] == [0.5]
    assert spectrum.images[0].get_extent()[1] == 1.5


def test_spectrogram_shows_a_tone_at_its_frequency() -> None:
    tone = np.sin(2 * np.pi * 500 * np.arange(4000) / 2000).astype(np.float32)
    image = sound_figure(tone, 2000).axes[1].images[0].get_array()
    assert np.argmax(image.mean(axis=1)) / (len(image) - 1) == pytest.approx(0.5, abs=0.02)


def test_piano_roll_draws_every_note_between_its_times() -> None:
    notes = Notes(np.array([0.0, 1.5]), np.array([1.0, 0.5]), np.array([60, 67]), np.array([40, 100]))
    axes = piano_roll_figure(notes, boundary=1.25).axes[0]
    (boxes,) = axes.collections
    extents = [path.get_extents() for path in boxes.get_paths()]
    assert [(e.x0, e.x1, (e.y0 + e.y1) / 2) for e in extents] == [(0.0, 1.0, 60.0), (1.5, 2.0, 67.0)]
    assert boxes.get_array().tolist() == [40, 100]
    assert axes.get_xlim() == (0, 2.0) and axes.get_xlabel() == "seconds"
    assert "C4" in [label.get_text() for label in axes.get_yticklabels()]
    assert axes.lines[-1].get_xdata()[0] == 1.25


def test_figures_without_anything_in_them() -> None:
    empty = np.zeros(0)
    for figure in (
        sound_figure(np.zeros(0, np.float32), 16_000, total=1.0),
        sound_figure(np.zeros(1, np.float32), 16_000),
        piano_roll_figure(Notes(empty, empty, empty.astype(int), empty.astype(int))),
    ):
        html = as_html(figure, 'nothing "here"')
        assert 'alt="nothing &quot;here&quot;"' in html and "data:image/png;base64," in html


def test_app_never_imports_training() -> None:
    for path in Path(waveletgpt.app.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.startswith("waveletgpt.training") for name in names), path
