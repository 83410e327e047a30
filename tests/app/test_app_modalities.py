"""Each modality from a prompt to a result, and the figures that are drawn."""

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

from waveletgpt.app.checkpoints import LoadedCheckpoint, load
from waveletgpt.app.drawing.figures import Notes, piano_roll_figure, roll_axes, sound_axes, sound_figure
from waveletgpt.app.drawing.mel import mel, mel_spectrogram
from waveletgpt.app.drawing.svg import WIDTH, Panel, png, spaced, ticks
from waveletgpt.app.modalities.base import AppModality, Prompt, load_modality
from waveletgpt.app.results import grow, new_result
from waveletgpt.app.streaming import Completion
from waveletgpt.app.web.markup import sheet
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES
from waveletgpt.models.sampling import Sampling
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.tokenizers.midi import MidiTokenizer
from waveletgpt.tokenizers.mulaw import MuLawTokenizer


def loaded(tiny_checkpoints: Path, name: str) -> tuple[AppModality[Any], LoadedCheckpoint]:
    modality = load_modality(name)
    return modality, load(tiny_checkpoints / f"{name}-haar", name, modality.tokenizer_kind)


def finished(
    modality: AppModality[Any], one: LoadedCheckpoint, source: str | Path | None, length: float, keep: float = 5
) -> Completion:
    prompt = modality.kept_prompt(source, keep if modality.name == "audio" else 1000, one.tokenizer)
    count = modality.checked_count("length", length, one.tokenizer)
    *_, (result,) = grow([new_result(modality, one, prompt, count, Sampling())])
    assert result
    return result.completion


def kept(modality: AppModality[Any], one: LoadedCheckpoint, source: str | Path, keep: float = 1000) -> Prompt:
    prompt = modality.kept_prompt(source, keep, one.tokenizer)
    assert prompt
    return prompt


def test_text_continues_a_prompt(tiny_checkpoints: Path, tmp_path: Path) -> None:
    modality, one = loaded(tiny_checkpoints, "text")
    completion = finished(modality, one, "Hello ", 30)
    text = modality.facts(completion, one.tokenizer)["text"]
    assert text.startswith("Hello ") and len(text) == 36
    modality.write(completion, one.tokenizer, tmp_path / "story.md")
    assert (tmp_path / "story.md").read_text() == text
    (tmp_path / "prompt.txt").write_text("Hello ")
    assert finished(modality, one, tmp_path / "prompt.txt", 30).ids.equal(completion.ids)


def test_a_prompt_that_is_changed_or_cut_comes_with_a_note(tiny_checkpoints: Path, tmp_path: Path) -> None:
    modality, one = loaded(tiny_checkpoints, "text")
    prompt = kept(modality, one, "Zoé, ")
    assert one.tokenizer.decode(prompt.ids) == "Zoe, " and prompt.note == "é became e"
    assert kept(modality, one, "Zoe").note == "" and modality.kept_prompt(None, 1000, one.tokenizer) is None

    text = "one word " * 3000 + "the end"
    (tmp_path / "long.txt").write_bytes(b"\xef\xbb\xbf" + text.replace(" word ", "\r\n").encode())
    for source, note in (
        (text, "only the end of the prompt is used, about 18 words of about 4,884 words"),
        (f"é{text}", "é became e; only the end of the prompt is used, about 18 words of about 4,884 words"),
        (tmp_path / "long.txt", "only the end of the prompt is used, about 18 words of about 2,171 words"),
    ):
        prompt = kept(modality, one, source, 100)
        assert len(prompt.ids) == 100 and one.tokenizer.decode(prompt.ids).endswith("the end")
        assert prompt.note == note


def test_what_cannot_be_written_is_refused(tiny_checkpoints: Path, tmp_path: Path) -> None:
    modality, one = loaded(tiny_checkpoints, "text")
    (tmp_path / "a.txt").write_text("one\n€")
    for prompt, message in (
        (
            "3 €",
            "the model does not know 3 € (the first is character 1); it knows letters, spaces, line breaks and ! $",
        ),
        (tmp_path / "a.txt", f"{tmp_path / 'a.txt'}: the model does not know € (line 2, character 1); it knows"),
        ("\ufeff", "the prompt is empty; type at least one character"),
    ):
        with pytest.raises(InputError) as refusal:
            kept(modality, one, prompt)
        assert str(refusal.value).startswith(message)


@pytest.mark.parametrize("name", MODALITIES)
def test_an_example_is_a_prompt_that_people_could_give(tmp_path: Path, name: str) -> None:
    modality = load_modality(name)
    tokenizer = {"text": CharacterTokenizer.text8(), "audio": MuLawTokenizer(8000), "music": MidiTokenizer()}[name]
    for example in modality.examples():
        prompt = modality.example_file(example.name, tmp_path)
        assert isinstance(prompt, str) or prompt.suffix in modality.prompt.suffixes
        ids = modality.example_ids(example.name, tokenizer)
        assert ids.equal(modality.read_prompt(prompt, tokenizer).ids)
        assert len(ids) <= modality.count(modality.keep.default, tokenizer)  # all of it is used
    for ask, given in ((modality.example_file, tmp_path), (modality.example_ids, tokenizer)):
        with pytest.raises(InputError, match=f"there is no example 'x'; choose one of {modality.examples()[0].name}, "):
            ask("x", given)


@pytest.mark.parametrize("name", MODALITIES)
def test_lengths_in_words_seconds_or_notes(tiny_checkpoints: Path, name: str) -> None:
    modality, one = loaded(tiny_checkpoints, name)
    amount, tokens, described = {
        "text": (100, 553, "about 100 words"),
        "audio": (1.5, 6000, "1.5 seconds"),
        "music": (100, 418, "about 100 notes"),
    }[name]
    assert modality.tokens_for(amount, one.tokenizer) == tokens
    assert modality.describe(tokens, one.tokenizer) == described
    page, bounds = modality.length_on_page, modality.length
    assert bounds.lowest <= page.lowest * modality.units_each < page.default * modality.units_each
    assert page.highest * modality.units_each <= bounds.highest
    assert page.default * modality.units_each == pytest.approx(bounds.default, rel=0.02)


def test_one_word_and_one_second() -> None:
    assert load_modality("text").describe(4, CharacterTokenizer.text8()) == "about 1 word"
    assert load_modality("audio").describe(8000, MuLawTokenizer(8000)) == "1 second"


def test_text_is_shown_as_it_is_whatever_it_holds() -> None:
    html = sheet("<b>", "<i>${1 + 1} {{value}} `\\", 3, writing=True)
    assert '<span class="prompt">&lt;b&gt;</span><span class="new"><span class="shared">&lt;i&gt;</span>' in html
    assert "cursor" in html
    assert not set("$`{}\\") & set(html.replace("&#36;", "").replace("&#123;", ""))


def test_audio_keeps_the_end_of_the_prompt(tiny_checkpoints: Path, sound_file: Path, tmp_path: Path) -> None:
    modality, one = loaded(tiny_checkpoints, "audio")
    rate = one.tokenizer.sample_rate
    completion = finished(modality, one, sound_file, 0.1, keep=0.5)
    assert completion.prompt_length == 0.5 * rate and completion.written == 0.1 * rate
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


def test_any_second_of_a_long_file_can_be_chosen(tmp_path: Path) -> None:
    modality, tokenizer = load_modality("audio"), MuLawTokenizer(4000)
    times = np.arange(150 * 4000) / 4000
    soundfile.write(tmp_path / "long.wav", 0.3 * np.sin(2 * np.pi * (200 + 2 * times) * times), 4000)

    def pitch(until: float | None) -> float:
        """The strongest frequency of the second before `until`."""
        prompt = modality.kept_prompt(tmp_path / "long.wav", 1.0, tokenizer, until=until)
        assert prompt is not None and len(prompt.ids) == 4000
        return float(np.abs(np.fft.rfft(tokenizer.decode(prompt.ids).numpy())).argmax())

    for until in (10.0, 80.0, 149.0):
        assert pitch(until) == pytest.approx(200 + 4 * (until - 0.5), abs=4)
    assert pitch(None) == pytest.approx(200 + 4 * 149.5, abs=4)
    whole = modality.kept_prompt(tmp_path / "long.wav", 4.0, tokenizer)
    assert whole is not None and whole.note == "only the end of the prompt is used, 4 seconds of 150 seconds"
    assert modality.seconds(modality.read_prompt(tmp_path / "long.wav", tokenizer), tokenizer) == 150


@pytest.mark.parametrize("name", MODALITIES)
def test_without_a_prompt_the_start_is_not_part_of_the_result(tiny_checkpoints: Path, name: str) -> None:
    modality, one = loaded(tiny_checkpoints, name)
    completion = finished(modality, one, None, 0.05 if name == "audio" else 20)
    assert completion.prompt_length == 0 and len(completion.ids) == completion.wanted
    facts = modality.facts(completion, one.tokenizer)
    assert set(facts) == set(modality.fact_types)
    for part in (Completion(completion.ids[:0], 0, completion.wanted), completion):
        assert modality.view(part, one.tokenizer).startswith("<")


@pytest.mark.parametrize("name", MODALITIES)
@pytest.mark.parametrize("length", [0, -1, float("nan"), float("inf")])
def test_impossible_lengths(tiny_checkpoints: Path, name: str, length: float) -> None:
    modality, one = loaded(tiny_checkpoints, name)
    with pytest.raises(InputError, match="must be above 0"):
        finished(modality, one, None, length)


def test_unknown_modality() -> None:
    with pytest.raises(InputError, match="choose one of text, audio, music"):
        load_modality("video")


def drawn(html: str) -> Element:
    """The figure, which must be well-formed and safe in gr.HTML's templates."""
    assert not set("$`{}\\") & set(html)
    return ElementTree.fromstring(html)


def texts(figure: Element) -> list[str]:
    return [element.text or "" for element in figure.iter("span")]


def of_class(figure: Element, name: str) -> list[Element]:
    return [element for element in figure.iter() if element.get("class") == name]


def marks(figure: Element) -> list[float]:
    """Horizontal positions of the ends of the prompt, as parts of the panels' width."""
    return [float(mark.attrib["d"].split()[0][1:]) / WIDTH for mark in of_class(figure, "mark")]


def test_sound_figure_has_time_in_seconds_and_frequency_in_hz() -> None:
    silence = np.zeros(3000, np.float32)
    axes = sound_axes([(silence, 2000)], 4.0)
    figure = drawn(sound_figure(silence, 2000, "silence", boundary=0.5, axes=axes))
    assert figure.attrib["aria-label"] == "silence"
    assert {"125 Hz", "250 Hz", "500 Hz", "1 kHz", "C4"} <= set(texts(figure))
    assert texts(figure)[-5:] == ["0", "1", "2", "3", "4 s"]  # the axis has its final extent from the start
    (timeline,) = of_class(figure, "timeline")
    assert timeline.attrib["style"] == "--seconds:4"
    (image,) = figure.iter("image")
    assert float(image.attrib["width"]) == pytest.approx(WIDTH * 1.5 / 4)  # 1.5 of 4 seconds
    assert marks(figure) == [0.125, 0.125]


def test_the_prompt_and_what_follows_have_colours_of_their_own() -> None:
    wave = np.sin(np.arange(4000)).astype(np.float32)
    for boundary, kinds in ((0.0, ["new"]), (1.0, ["prompt", "new"]), (2.0, ["prompt"])):
        figure = drawn(sound_figure(wave, 2000, "", boundary=boundary))
        assert [shape.attrib["class"] for shape in figure.iter("polygon")] == kinds


def tone(hertz: float, rate: int, amplitude: float = 1.0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(rate) / rate)).astype(np.float32)


@pytest.mark.parametrize(("hertz", "rate"), [(110, 8000), (440, 8000), (440, 16_000), (5000, 16_000)])
def test_spectrogram_shows_a_tone_at_its_frequency(hertz: float, rate: int) -> None:
    power = mel_spectrogram(tone(hertz, rate), rate, 8000)
    assert len(power) == 128 and 0.1 < power.max() <= 1
    assert (np.argmax(power.mean(axis=1)) + 1) / 129 == pytest.approx(mel(hertz) / mel(8000), abs=0.008)
    assert mel_spectrogram(tone(hertz, rate)[:100], rate, 8000).size == 0


def test_side_by_side_a_softer_sound_is_darker_and_a_shorter_one_narrower() -> None:
    loud, soft = tone(440, 8000), tone(440, 4000, 0.01)
    axes = sound_axes([(loud, 8000), (soft[:2000], 4000)], 0.75)
    assert axes == sound_axes([(loud, 8000)])  # those of the louder, longer one with the higher sample rate
    brightest = []
    for wave, rate in ((loud, 8000), (soft[:2000], 4000)):
        (image,) = drawn(sound_figure(wave, rate, "", axes=axes)).iter("image")
        assert float(image.attrib["width"]) == WIDTH * len(wave) / rate
        data = base64.b64decode(image.attrib["href"].partition(",")[2])
        pixels = np.asarray(Image.open(io.BytesIO(data)))
        brightest.append(pixels.max())
    assert brightest[0] == 63 and brightest[1] == pytest.approx(63 * (1 - 40 / 70), abs=2)  # 40 dB softer


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
    first, second = (
        {name: float(value) for name, value in note.items() if name != "class"} for note in of_class(figure, "key")
    )
    for note, onset, length in ((first, 0.0, 1.0), (second, 1.5, 0.5)):
        assert note["x"] / WIDTH * 2 == pytest.approx(onset, abs=0.01)
        assert note["width"] / WIDTH * 2 == pytest.approx(length, abs=0.01)
    assert first["y"] - second["y"] == pytest.approx(7)  # keys apart; a row is 1 unit high
    assert first["fill-opacity"] < second["fill-opacity"]
    assert {"C4", "C5", "2.0 s"} <= set(texts(figure))
    assert marks(figure) == [0.625]


def test_rolls_side_by_side_share_time_and_keys() -> None:
    low = Notes(np.array([0.0]), np.array([1.0]), np.array([30]), np.array([64]))
    high = Notes(np.array([2.0]), np.array([1.5]), np.array([90]), np.array([64]))
    nothing = Notes(*np.zeros((2, 0)), *np.zeros((2, 0), int))
    axes = roll_axes([low, high, nothing])
    assert (axes.seconds, axes.low, axes.high) == (3.5, 28, 92)
    heights = [drawn(piano_roll_figure(one, "", axes=axes)).find(".//svg") for one in (low, high, nothing)]
    assert {svg.attrib["viewBox"] for svg in heights if svg is not None} == {f"0 0 {WIDTH} 65"}
    alone = roll_axes([low])
    assert alone.high - alone.low == 24 and alone.low <= 30 <= alone.high


def test_panels_place_values_between_their_edges() -> None:
    panel = Panel("wave", 4, (-1, 1), 50)
    assert (panel.x(0), panel.x(1), panel.x(4)) == (0, 250, 1000)
    assert (panel.y(-1), panel.y(0), panel.y(1)) == (50, 25, 0)


def test_labels_that_are_too_near_to_the_one_above_are_left_out() -> None:
    assert spaced([(1, "a"), (2, "b"), (3, "c"), (5, "d")], 2) == [(5, "d"), (3, "c"), (1, "a")]


def test_figures_without_anything_in_them() -> None:
    empty = np.zeros(0)
    for svg in (
        sound_figure(np.zeros(0, np.float32), 16_000, 'nothing "here"'),
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
