import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES, Modality
from waveletgpt.tokenizers.registry import Tokenizer, check_ids, tokenizer_from_dict

ROOT = Path(__file__).parents[2]
DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "characters": {"kind": "characters", "alphabet": "abc", "replacement": None},
    "mulaw": {"kind": "mulaw", "sample_rate": 16000, "levels": 256},
}


def in_fresh_python(code: str) -> Any:
    """The JSON that `code` prints in a new Python, in the repository's root, which is first on sys.path as with -m."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_our_folder_never_hides_the_hugging_face_package_that_miditok_needs() -> None:
    assert not (ROOT / "tokenizers" / "__init__.py").exists()
    path, theirs, ours = in_fresh_python(
        "import json, sys, tokenizers\n"
        "import waveletgpt.tokenizers.characters as characters\n"
        "print(json.dumps([sys.path[0], hasattr(tokenizers, 'Tokenizer'), characters.__file__]))"
    )
    assert path == ""  # the working directory
    assert theirs
    assert Path(ours).samefile(ROOT / "tokenizers" / "characters.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "needless"),
    [
        ("characters", {"miditok", "symusic", "torchaudio", "soundfile"}),
        ("mulaw", {"miditok", "symusic", "soundfile"}),
    ],
)
def test_loading_one_kind_imports_nothing_of_the_others(kind: str, needless: set[str]) -> None:
    loaded, modules = in_fresh_python(
        "import json, sys\n"
        "from waveletgpt.tokenizers.registry import tokenizer_from_dict\n"
        f"tokenizer = tokenizer_from_dict({DESCRIPTIONS[kind]!r})\n"
        "print(json.dumps([tokenizer.to_dict(), sorted(sys.modules)]))"
    )
    assert loaded == DESCRIPTIONS[kind]
    assert not needless & set(modules)


@pytest.mark.slow
def test_loading_music_does_not_import_audio() -> None:
    modules = in_fresh_python(
        "import json, sys\n"
        "from waveletgpt.tokenizers.midi import MidiTokenizer\n"
        "from waveletgpt.tokenizers.registry import tokenizer_from_dict\n"
        "tokenizer_from_dict(MidiTokenizer().to_dict())\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    assert not {"torchaudio", "soundfile"} & set(modules)


@pytest.mark.parametrize("modality", MODALITIES.values(), ids=MODALITIES)
def test_every_kind_is_rebuilt_from_its_description(modality: Modality) -> None:
    kind, cls = modality.tokenizer_kind, modality.tokenizer_class()
    tokenizer: Tokenizer = cls.text8() if kind == "characters" else cls()
    description = json.loads(json.dumps(tokenizer.to_dict()))
    assert description["kind"] == cls.kind == kind
    rebuilt = tokenizer_from_dict(description)
    assert type(rebuilt) is cls
    assert rebuilt.to_dict() == tokenizer.to_dict()
    assert rebuilt.vocab_size == tokenizer.vocab_size
    start = rebuilt.start
    assert start.ndim == 1
    assert len(start) >= 1
    assert 0 <= start.min() <= start.max() < rebuilt.vocab_size


@pytest.mark.parametrize(
    "description", [{}, {"kind": "braille"}, {"kind": None}, {"kind": ["mulaw"]}, None, [], "mulaw"]
)
def test_an_unknown_kind_is_refused_with_the_known_ones(description: Any) -> None:
    with pytest.raises(InputError, match="known are characters, mulaw, midi"):
        tokenizer_from_dict(description)


@pytest.mark.parametrize(
    "description",
    [
        {"kind": "characters"},
        {"kind": "characters", "alphabet": "ba"},
        {"kind": "characters", "alphabet": "ab", "colour": "red"},
        {"kind": "mulaw", "sample_rate": "fast"},
        {"kind": "mulaw", "levels": None},
        {"kind": "mulaw", "levels": True},
    ],
)
def test_a_malformed_description_is_refused_in_one_line(description: dict[str, Any]) -> None:
    with pytest.raises(InputError) as refusal:
        tokenizer_from_dict(description)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_tokenizer_is_not_rebuilt_from_the_description_of_another() -> None:
    from waveletgpt.tokenizers.mulaw import MuLawTokenizer

    with pytest.raises(InputError, match="mulaw"):
        MuLawTokenizer.from_dict(DESCRIPTIONS["characters"])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_ids_of_any_whole_type_are_judged_by_their_value(dtype: torch.dtype) -> None:
    check_ids(torch.tensor([0, 200, 255]).to(dtype), 256)
    with pytest.raises(InputError, match=r"id 200 at position 1 is outside 0\.\.199"):
        check_ids(torch.tensor([0, 200]).to(dtype), 200)
