"""`waveletgpt generate`, and its messages about bad input."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import soundfile
import torch
from symusic.core import ScoreTick

from waveletgpt import cli
from waveletgpt.app.checkpoints import Library
from waveletgpt.app.modalities.base import Prompt, load_modality
from waveletgpt.app.recipe import find_recipe, marked, to_word
from waveletgpt.app.results import continued, grow, load_named, new_result
from waveletgpt.models.checkpoint import update_info
from waveletgpt.models.sampling import Sampling
from waveletgpt.tokenizers.characters import CharacterTokenizer

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_checkpoints: Path,
) -> Run:
    """Run a line, and words that may hold spaces, in a folder where `ck` is the tiny checkpoints.

    Returns the exit status, the output and the errors.
    """
    (tmp_path / "ck").symlink_to(tiny_checkpoints)
    monkeypatch.chdir(tmp_path)

    def run(line: str, *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["waveletgpt", *line.split(), *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version") == (0, f"waveletgpt {version('waveletgpt')}\n", "")
    assert "--version" in run("--help")[1]


def test_text_is_printed_and_the_figures_are_not(run: Run) -> None:
    status, out, err = run("generate text --checkpoint ck/text-haar --prompt None --length 40")
    assert status == 0
    assert out.startswith("None") and len(out) == 4 + 40 + 1
    assert err.startswith("40 characters, ") and "bits per character" in err


def test_what_was_changed_in_a_prompt_is_printed_beside_the_text(run: Run) -> None:
    status, out, err = run("generate text --checkpoint ck/text-haar --prompt Zoé --keep 2 --length 20")
    assert status == 0 and out.startswith("oe")
    assert err.startswith("note: é became e; only the end of the prompt is used, about 0 words of about 1 word\n")


def test_the_same_seed_gives_the_same_text(run: Run) -> None:
    line = "generate text --checkpoint ck/text-haar --length 40 --top-k 20 --seed"
    first, again, other = (run(line, seed)[1] for seed in "112")
    assert first == again != other


def test_a_checkpoints_own_sampling_settings_are_its_defaults(run: Run, tmp_path: Path) -> None:
    shutil.copytree("ck/text-haar", tmp_path / "own")
    update_info(tmp_path / "own", sampling={"temperature": 0.0, "top_p": None, "min_p": None})
    line = "generate text --checkpoint own --length 40 --seed 1"
    own, greedy, warm = (run(f"{line} {flag}")[1] for flag in ("", "--temperature 0", "--temperature 1"))
    assert own == greedy != warm


def test_samples_of_text(run: Run) -> None:
    line = "generate text --checkpoint ck/text-haar --length 9 --samples 2"
    status, out, _ = run(line)
    assert status == 0 and "--- 1 ---\n" in out and "--- 2 ---\n" in out
    assert run(line, "--out", "new/a.txt")[:2] == (0, "new/a-1.txt\nnew/a-2.txt\n")
    assert len(Path("new/a-1.txt").read_text()) == 9


def test_audio_goes_on_from_a_file(run: Run, sound_file: Path) -> None:
    line = "generate audio --checkpoint ck/audio-haar --length 0.2 --keep 0.3 --out a.wav --prompt-file"
    assert run(line, str(sound_file))[:2] == (0, "a.wav\n")
    samples, rate = soundfile.read("a.wav")
    assert len(samples) == rate * 0.5


def test_music_is_written_as_midi_or_rendered(run: Run, midi_file: Path) -> None:
    line = "generate music --checkpoint ck/music-haar --length 30 --prompt-file"
    assert run(line, str(midi_file))[:2] == (0, "music-haar-seed0.mid\n")
    assert len(ScoreTick("music-haar-seed0.mid").tracks[0].notes) >= 8
    assert run(line, str(midi_file), "--out", "a.wav")[:2] == (0, "a.wav\n")
    assert soundfile.info("a.wav").duration > 3


@pytest.mark.parametrize("kind", ["text", "audio", "music"])
def test_the_page_and_a_recipe_give_the_same_bytes(run: Run, kind: str, tiny_checkpoints: Path) -> None:
    """As somebody does who downloads a variation of a result that went on, and gives it to the command line."""
    modality = load_modality(kind)
    loaded = load_named(modality, Library(tiny_checkpoints, kind).entries(), f"{kind}-haar")
    prompt = Prompt(torch.tensor([5, 4, 9, 12]), title="a title")
    *_, (result,) = grow([new_result(modality, loaded, prompt, 40, Sampling(temperature=0.9, seed=3), range(3))])
    assert result
    *_, (result,) = grow([continued(replace(result, chosen=1), 25)])
    assert result
    for suffix, path in result.write(modality, Path("page")).items():
        given = Path("page", path.stem + modality.files[-1] if suffix == ".txt" else path.name)  # plain text has none
        for checkpoints in ("ck", f"ck/{kind}-haar"):
            line = f"generate --checkpoint {checkpoints} --recipe {given} --device cpu --out again{suffix}"
            assert run(line)[:2] == (0, f"again{suffix}\n")
            assert Path(f"again{suffix}").read_bytes() == path.read_bytes()


def test_a_recipe_without_its_checkpoint(run: Run) -> None:
    run("generate text --checkpoint ck/text-haar --length 9 --out a.json")
    Path("empty").mkdir()
    status, _, told = run("generate --recipe a.json --checkpoint empty")
    assert status == 2 and "this was made with the checkpoint text-haar" in told and "here are none" in told


BAD: list[tuple[str, str]] = [
    (
        "generate video --checkpoint ck/text-haar",
        "'video' is not a kind of data; choose one of text, audio, music",
    ),
    ("generate text --checkpoint ck/none", "give a folder with a config.json"),
    ("generate music --checkpoint ck/text-haar", "is a checkpoint for text; one for music is needed"),
    ("generate text --checkpoint mismatch", "the tokenizer has 3 ids and the model 99"),
    ("generate text --checkpoint version", "has format version 99"),
    ("generate text --checkpoint ck/text-haar --prompt=", "--prompt is empty; give text, or leave it out"),
    ("generate text --checkpoint ck/text-haar --prompt 3€", "the model does not know 3 € (the first is character 1)"),
    ("generate text --checkpoint ck/text-haar --prompt a --prompt-file b", "both given"),
    ("generate text --checkpoint ck/text-haar --prompt-file nowhere", "nowhere: No such file"),
    ("generate text --checkpoint ck/text-haar --prompt-file ck", "ck: Is a directory"),
    ("generate text --checkpoint ck/text-haar --prompt-file empty", "empty: the prompt is empty"),
    ("generate text --checkpoint ck/text-haar --prompt-file junk", "junk: not UTF-8 text (byte 0"),
    ("generate text --checkpoint ck/text-haar --out ck", "ck is a directory"),
    ("generate text --checkpoint ck/text-haar --length nan", "length is nan characters; it must be above 0"),
    ("generate text --checkpoint ck/text-haar --length -5", "length is -5 characters; it must be above 0"),
    ("generate text --checkpoint ck/text-haar --temperature -1", "temperature is -1"),
    ("generate text --checkpoint ck/text-haar --top-k 0", "top-k is 0"),
    ("generate text --checkpoint ck/text-haar --repetition-penalty 0", "repetition penalty is 0"),
    ("generate text --checkpoint ck/text-haar --seed -1", "seed is -1"),
    ("generate text --checkpoint ck/text-haar --samples 0", "--samples is 0"),
    ("generate audio --checkpoint ck/audio-haar --prompt a", "--prompt is for text"),
    ("generate audio --checkpoint ck/audio-haar --prompt-file junk", "junk: corrupt, or not a WAV"),
    ("generate audio --checkpoint ck/audio-haar --out a.mp3", "audio is written as .wav"),
    ("generate music --checkpoint ck/music-haar --prompt-file junk", "junk: not a MIDI file"),
    ("generate music --checkpoint ck/music-haar --prompt-file nowhere", "nowhere: "),
    ("generate music --checkpoint ck/music-haar --out a.txt", "music is written as .mid or .wav"),
    ("generate text --checkpoint ck/text-haar --top-k many", "many"),
    ("generate text --checkpoint ck/text-haar --device abacus", "--device abacus cannot be used here"),
    ("generate", "give what to generate (text, audio, music) and a --checkpoint, or a --recipe"),
    ("generate --recipe nowhere", "nowhere: No such file"),
    ("generate --recipe junk", "junk holds no recipe; give a WAV, MIDI or JSON file that waveletgpt wrote"),
    ("app --checkpoints nowhere", "nowhere is not a directory"),
    ("app --port 70000", "--port is 70000; it must be from 1 to 65535"),
]


@pytest.mark.parametrize(("line", "told"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    run: Run, line: str, told: str, save_tiny: Callable[..., Path]
) -> None:
    save_tiny(Path("mismatch"), "text", CharacterTokenizer("abc"), "none", vocab_size=99)
    version = save_tiny(Path("version"), "text", CharacterTokenizer("abc"), "none") / "config.json"
    version.write_text(version.read_text().replace('"format_version": 1', '"format_version": 99'))
    Path("empty").touch()
    Path("junk").write_bytes(bytes(range(255, 0, -1)))
    before = sorted(Path().iterdir())
    status, out, err = run(line)
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and told in err
    assert sorted(Path().iterdir()) == before


@pytest.mark.slow
def test_through_a_process_of_its_own(tiny_checkpoints: Path) -> None:
    command = [sys.executable, "-m", "waveletgpt", "generate", "text", "--checkpoint"]
    done = subprocess.run([*command, tiny_checkpoints / "audio-haar"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    process = subprocess.Popen(
        [*command, tiny_checkpoints / "text-haar", "--length", "5000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout and process.stderr
    assert process.stdout.read(20)
    process.stdout.close()  # as `| head` does, in the middle of the text
    assert (process.wait(60), process.stderr.read()) == (0, b"")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['waveletgpt', 'generate', '--help']\n"
        "from waveletgpt.cli import main\n"
        "try: main()\n"
        "except SystemExit: print({'torch', 'gradio', 'miditok', 'numba'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--length" in done.stdout and done.stdout.endswith("set()\n")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e12", "1e308", str(10**30), "-0", "-1"])
def test_lengths_that_nobody_can_wait_for_are_refused(run: Run, number: str) -> None:
    for kind in ("text", "audio", "music"):
        for flag in ("length", "keep"):
            if (flag, number) != ("keep", "inf"):  # all of the prompt
                status, out, err = run(f"generate {kind} --checkpoint ck/{kind}-haar --{flag}", number)
                assert (status, out) == (2, "") and err.startswith(f"error: {flag} is ") and err.count("\n") == 1
                assert "it must be above 0, and at most 16,777,216 " in err


def test_many_samples_and_long_recipes_are_refused(run: Run, tiny_checkpoints: Path, tmp_path: Path) -> None:
    status, _, err = run("generate text --checkpoint ck/text-haar --samples 1000000")
    assert (status, err) == (2, "error: --samples is 1000000; it must be from 1 to 64\n")
    status, _, err = run("generate text --checkpoint ck/text-haar --samples 64 --length 1e6")
    assert (status, err) == (2, "error: these are 64,000,000 tokens; at most 16,777,216 are made at a time\n")
    run("generate text --checkpoint ck/text-haar --length 20 --out a.json")
    (recipe,) = find_recipe(tmp_path / "a.json")
    assert recipe
    (tmp_path / "b.json").write_text(marked(to_word([replace(recipe, lengths=(10**12,))])))
    status, _, err = run("generate --recipe b.json --checkpoint ck")
    assert (status, err) == (2, "error: these are 1,000,000,000,000 tokens; at most 16,777,216 are made at a time\n")


def test_a_text_of_60_mb_is_refused_in_no_time(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "long.txt").open("wb") as file:
        file.truncate(60 << 20)
    status, out, err = run("generate text --checkpoint ck/text-haar --prompt-file long.txt")
    assert (status, out) == (2, "")
    assert err == "error: long.txt: larger than 1 MB; give a shorter text, such as its end\n"


@pytest.mark.parametrize("name", ["text.txt", "text.json", "audio.wav", "music.mid", "music.wav"])
def test_a_full_disk_is_one_line_and_leaves_no_half_of_a_file(
    run: Run, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: Path, data: bytes | str, **_: object) -> None:
        with path.open("wb") as file:
            file.write(data.encode()[:9] if isinstance(data, str) else data[:9])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)
    monkeypatch.setattr(Path, "write_text", half)
    kind = name.partition(".")[0]
    length = "0.01" if kind == "audio" else "20"
    status, out, err = run(f"generate {kind} --checkpoint ck/{kind}-haar --length {length} --out {name}")
    assert (status, out) == (1, "")
    assert err == f"error: {name} cannot be written (No space left on device); what was there is kept\n"
    assert [path.name for path in tmp_path.iterdir()] == ["ck"]


def test_runs_are_told_from_other_folders(run: Run) -> None:
    status, _, err = run("runs ck")
    assert (status, err) == (2, "error: ck holds no runs; give the folder of one, or one that holds such folders\n")
    status, _, err = run("app --runs nowhere")
    assert (status, err.splitlines()[-1]) == (2, "error: nowhere is not a directory; give one that holds runs")
