"""Each modality from a prompt to a result, and the figures that are drawn."""

import ast
import base64
import io
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pytest
import soundfile
from PIL import Image
from symusic.core import ScoreTick

import waveletgpt.app
from waveletgpt.app.checkpoints import LoadedCheckpoint, load
from waveletgpt.app.drawing.figures import ACCENT, PROMPT, Notes, piano_roll_figure, sound_figure, spectrogram
from waveletgpt.app.drawing.svg import Panel, png, ticks
from waveletgpt.app.modalities.base import AppModality, load_modality
from waveletgpt.app.streaming import Completion, stream
from waveletgpt.app.web.markup import sheet
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES
from waveletgpt.models.sampling import Sampling

SVG = "{http://www.w3.org/2000/svg}"


def loaded(tiny_checkpoints: Path, name: str) -> tuple[AppModality[Any], LoadedCheckpoint]:
    modality = load_modality(name)
    return modality, load(tiny_checkpoints / f"{name}-haar", name, modality.tokenizer_kind)


def finished(modality: AppModality[Any], one: LoadedCheckpoint, prompt: str | Path | None, length: float) -> Completion:
    *_, ((completion,),) = stream([modality.task(one, prompt, length, modality.keep.default)], Sampling())
    return completion


def test_text_continues_a_prompt(tiny_checkpoints: Path, tmp_path: Path) -> None:
    modality, one = loaded(tiny_checkpoints, "text")
    completion = finished(modality, one, "Hello ", 30)
    text = modality.facts(completion, one.tokenizer)["text"]
    assert text.startswith("Hello ") and len(text) == 36
    modality.write(completion, one.tokenizer, tmp_path / "story.md")
    assert (tmp_path / "story.md").read_text() == text
    (tmp_path / "prompt.txt").write_text("Hello ")
    assert finished(modality, one, tmp_path / "prompt.txt", 30).ids.equal(completion.ids)


def test_text_is_shown_as_it_is_whatever_it_holds() -> None:
    html = sheet("<b>", "<i>", "${1 + 1} {{value}} `\\", writing=True)
    assert '<span class="prompt">&lt;b&gt;</span><span class="shared">&lt;i&gt;</span>' in html and "cursor" in html
    assert not set("$`{}\\") & set(html.replace("&#36;", "").replace("&#123;", ""))


def test_the_example_is_in_every_alphabet() -> None:
    text = load_modality("text")
    assert text.example([{"alphabet": " Iabcistw"}]).startswith("It was")
    assert text.example([{"alphabet": " Iabcistw"}, {"alphabet": " abcistw"}]).startswith("it was")
    assert text.example([{"alphabet": "xyz"}]) == ""


def test_audio_keeps_the_end_of_the_prompt(tiny_checkpoints: Path, sound_file: Path, tmp_path: Path) -> None:
    modality, one = loaded(tiny_checkpoints, "audio")
    rate = one.tokenizer.sample_rate
    task = modality.task(one, sound_file, 0.1, 0.5)
    assert len(task.prompt) == 0.5 * rate and task.length == 0.1 * rate
    *_, ((completion,),) = stream([task], Sampling())
    modality.write(completion, one.tokenizer, tmp_path / "a.wav")
    samples, written_rate = soundfile.read(tmp_path / "a.wav")
    assert written_rate == rate and len(samples) == 0.6 * rate
    spectrum = np.abs(np.fft.rfft(samples[:1000]))
    assert np.argmax(spectrum) * rate / 1000 == 440
    assert modality.facts(completion, one.tokenizer) == {
        "seconds": 0.6,
        "prompt_seconds": 0.5,
        "sample_rate": rate,
    }


def test_music_continues_a_midi_file(tiny_checkpoints: Path, midi_file: Path, tmp_path: Path) -> None:
    modality, one = loaded(tiny_checkpoints, "music")
    completion = finished(modality, one, midi_file, 60)
    modality.write(completion, one.tokenizer, tmp_path / "a.mid")
    notes = ScoreTick(tmp_path / "a.mid").tracks[0].notes
    assert [note.pitch for note in notes[:8]] == [60, 62, 64, 65, 67, 69, 71, 72]
    modality.write(completion, one.tokenizer, tmp_path / "a.wav")
    samples, rate = soundfile.read(tmp_path / "a.wav")
    facts = modality.facts(completion, one.tokenizer)
    assert len(samples) / rate == pytest.approx(facts["seconds"], abs=0.5) and np.abs(samples).max() > 0.01
    assert facts["notes"] == len(notes) and facts["prompt_seconds"] == pytest.approx(3.9, abs=0.05)


@pytest.mark.parametrize("name", MODALITIES)
def test_without_a_prompt_the_start_is_not_part_of_the_result(tiny_checkpoints: Path, name: str) -> None:
    modality, one = loaded(tiny_checkpoints, name)
    completion = finished(modality, one, None, 0.05 if name == "audio" else 20)
    assert completion.prompt_length == 0 and len(completion.ids) == completion.wanted
    facts = modality.facts(completion, one.tokenizer)
    assert {key: kind for key, kind in modality.fact_types.items() if key in facts} == modality.fact_types
    for part in (Completion(completion.ids[:0], 0, completion.wanted), completion):
        assert modality.view(part, one.tokenizer).startswith("<")


@pytest.mark.parametrize("name", MODALITIES)
@pytest.mark.parametrize("length", [0, -1, float("nan"), float("inf")])
def test_impossible_lengths(tiny_checkpoints: Path, name: str, length: float) -> None:
    modality, one = loaded(tiny_checkpoints, name)
    with pytest.raises(InputError, match="must be above 0"):
        modality.task(one, None, length, 1)


def test_unknown_modality() -> None:
    with pytest.raises(InputError, match="choose one of text, audio, music"):
        load_modality("video")


def drawn(svg: str) -> Element:
    """The figure, which must be well-formed and safe in gr.HTML's templates."""
    assert not set("$`{}\\") & set(svg)
    return ElementTree.fromstring(svg)


def texts(figure: Element) -> list[str]:
    return [element.text or "" for element in figure.iter(f"{SVG}text")]


def test_sound_figure_has_time_in_seconds_and_frequency_in_khz() -> None:
    figure = drawn(sound_figure(np.zeros(3000, np.float32), 2000, "silence", boundary=0.5, total=4.0))
    assert figure.attrib["aria-label"] == "silence"
    assert {"seconds", "kHz", "amplitude"} <= set(texts(figure))
    assert texts(figure)[-6:] == ["0", "1", "2", "3", "4", "seconds"]  # the axis has its final extent from the start
    (image,) = figure.iter(f"{SVG}image")
    wave, spectrum = (rect for rect in figure.iter(f"{SVG}rect") if rect.get("fill") == "none")
    width = float(spectrum.attrib["width"])
    assert wave.attrib["width"] == spectrum.attrib["width"]
    assert float(image.attrib["width"]) == pytest.approx(width * 1.5 / 4, abs=0.1)  # 1.5 of 4 seconds
    marks = [path for path in figure.iter(f"{SVG}path") if path.get("class") == "mark"]
    assert len(marks) == 2
    left = float(spectrum.attrib["x"])
    assert float(marks[0].attrib["d"].split()[0][1:]) == pytest.approx(left + width * 0.5 / 4, abs=0.1)


def test_the_prompt_and_what_follows_have_colours_of_their_own() -> None:
    wave = np.sin(np.arange(4000)).astype(np.float32)
    for boundary, colours in ((0.0, [ACCENT]), (1.0, [PROMPT, ACCENT]), (2.0, [PROMPT])):
        figure = drawn(sound_figure(wave, 2000, "", boundary=boundary))
        assert [shape.attrib["fill"] for shape in figure.iter(f"{SVG}polygon")] == colours


def test_spectrogram_shows_a_tone_at_its_frequency() -> None:
    tone = np.sin(2 * np.pi * 5000 * np.arange(16_000) / 16_000).astype(np.float32)
    decibels = spectrogram(tone, 16_000)
    assert len(decibels) == 128 and decibels.max() == pytest.approx(0, abs=1e-5)
    assert (np.argmax(decibels.mean(axis=1)) + 0.5) / len(decibels) == pytest.approx(5 / 8, abs=0.01)
    assert spectrogram(tone[:100], 16_000).size == 0


def test_png_holds_the_pixels_it_was_given() -> None:
    pixels, palette = (
        np.array([[0, 1, 2], [2, 1, 0]], np.uint8),
        np.array([[0, 0, 0], [9, 8, 7], [255, 0, 1]], np.uint8),
    )
    data = base64.b64decode(png(pixels, palette).partition(",")[2])
    shown = Image.open(io.BytesIO(data)).convert("RGB")
    assert np.array_equal(np.asarray(shown), palette[pixels])


@pytest.mark.parametrize(
    ("low", "high", "names"),
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 5, ["0", "1", "2", "3", "4", "5"]),
        (0, 0.35, ["0.00", "0.05", "0.10", "0.15", "0.20", "0.25", "0.30"]),
        (0, 123.4, ["0", "20", "40", "60", "80", "100", "120"]),
        (0, 0.001, ["0.0000", "0.0002", "0.0004", "0.0006", "0.0008", "0.0010"]),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, names: list[str]) -> None:
    assert [name for _, name in ticks(low, high, 7)] == names
    assert [value for value, _ in ticks(low, high, 7)] == pytest.approx([float(name) for name in names])


def test_piano_roll_draws_every_note_between_its_times() -> None:
    notes = Notes(np.array([0.0, 1.5]), np.array([1.0, 0.5]), np.array([60, 67]), np.array([40, 100]))
    figure = drawn(piano_roll_figure(notes, "two notes", boundary=1.25))
    first, second = (rect for rect in figure.iter(f"{SVG}rect") if rect.get("class") == "key")
    panel = next(rect for rect in figure.iter(f"{SVG}rect") if rect.get("fill") == "none")
    left, width = float(panel.attrib["x"]), float(panel.attrib["width"])

    def seconds(x: float) -> float:
        return (x - left) / width * 2.0

    for rect, onset, end in ((first, 0.0, 1.0), (second, 1.5, 2.0)):
        x = float(rect.attrib["x"])
        assert seconds(x) == pytest.approx(onset, abs=0.01)
        assert seconds(x + float(rect.attrib["width"])) == pytest.approx(end, abs=0.01)
    row = float(first.attrib["height"]) / 0.9
    assert float(first.attrib["y"]) - float(second.attrib["y"]) == pytest.approx(7 * row, abs=0.3)  # 7 keys apart
    assert first.attrib["fill"] != second.attrib["fill"]  # velocity sets the colour
    assert {"C4", "seconds", "pitch", "velocity"} <= set(texts(figure))
    (mark,) = (path for path in figure.iter(f"{SVG}path") if path.get("class") == "mark")
    assert seconds(float(mark.attrib["d"].split()[0][1:])) == pytest.approx(1.25, abs=0.01)


def test_panels_place_values_between_their_edges() -> None:
    panel = Panel(10, 20, 100, 50, across=(0, 4), up=(-1, 1))
    assert (panel.x(0), panel.x(1), panel.x(4)) == (10, 35, 110)
    assert (panel.y(-1), panel.y(0), panel.y(1)) == (70, 45, 20)


def test_figures_without_anything_in_them() -> None:
    empty = np.zeros(0)
    for svg in (
        sound_figure(np.zeros(0, np.float32), 16_000, 'nothing "here"', total=1.0),
        sound_figure(np.zeros(1, np.float32), 16_000, 'nothing "here"'),
        piano_roll_figure(Notes(empty, empty, empty.astype(int), empty.astype(int)), 'nothing "here"'),
    ):
        assert drawn(svg).attrib["aria-label"] == 'nothing "here"'


def test_drawing_is_quick(tiny_checkpoints: Path) -> None:
    """Figures are drawn every second while two models write."""
    wave = np.random.default_rng(0).normal(0, 0.2, 80_000).clip(-1, 1).astype(np.float32)
    sound_figure(wave, 16_000, "")
    begun = time.thread_time()
    sound_figure(wave, 16_000, "")
    assert time.thread_time() - begun < 0.1


def test_numbers_of_tokens_in_words(tiny_checkpoints: Path) -> None:
    for name, one_token, many in (
        ("text", "1 character", "1,234 characters"),
        ("audio", "1 sample (0.0003 s)", "1,234 samples (0.3085 s)"),
        ("music", "1 event", "1,234 events"),
    ):
        modality, one = loaded(tiny_checkpoints, name)
        assert modality.count_in_words(1, one.tokenizer) == one_token
        assert modality.count_in_words(1234, one.tokenizer) == many


def test_app_never_imports_training() -> None:
    for path in Path(waveletgpt.app.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.startswith("waveletgpt.training") for name in names), path
