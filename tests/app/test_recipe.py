"""Recipes: what they hold, where they travel, and that they make a result again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from waveletgpt.app.checkpoints import Library, find_checkpoints
from waveletgpt.app.modalities.base import Prompt, load_modality
from waveletgpt.app.recipe import Recipe, find_recipe, from_word, marked, pack_ids, to_word, unpack_ids
from waveletgpt.app.results import Result, continued, grow, load_named, new_result, remade, stopped
from waveletgpt.common.errors import InputError
from waveletgpt.models.sampling import Sampling
from waveletgpt.tokenizers.midi import MidiTokenizer

RECIPE = Recipe("text", "text-haar", "0123456789abcdef", (30, 5), Sampling(temperature=0.7, seed=9), 2, title="It was")


@given(st.lists(st.integers(0, 65535)))
def test_ids_are_packed_and_unpacked(ids: list[int]) -> None:
    assert unpack_ids(pack_ids(torch.tensor(ids, dtype=torch.long))).tolist() == ids


def test_a_word_holds_the_recipes_of_both_cards() -> None:
    for recipes in ([RECIPE], [RECIPE, None], [None, RECIPE], [RECIPE, replace(RECIPE, checkpoint="other")]):
        word = to_word(recipes)
        assert word.isascii() and word.replace("-", "").replace("_", "").isalnum()
        assert from_word(word) == recipes


def test_a_recipe_of_a_typed_prompt_is_short() -> None:
    ids = torch.randint(0, 60, (100,))
    assert len(to_word([replace(RECIPE, ids=pack_ids(ids))])) < 500


@pytest.mark.parametrize(
    "change",
    [
        {"lengths": []},
        {"lengths": [0]},
        {"lengths": ["5"]},
        {"lengths": [1] * 101},
        {"lengths": None},
        {"sampling": {"temperature": -1}},
        {"sampling": {"unheard": 1}},
        {"sampling": {"seed": 1.5}},
        {"sampling": {"top_k": 2.5}},
        {"example": "tune"},
        {"example_tokens": -1, "example": "tune"},
        {"sampling": 5},
        {"variation": -1},
        {"variation": True},
        {"modality": "smell"},
        {"checkpoint": 5},
        {"unheard": 1},
    ],
)
def test_other_values_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError) as raised:
        Recipe.from_dict({**RECIPE.to_dict(), **change})
    assert "\n" not in str(raised.value)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: data.hex()))
def test_any_word_is_a_recipe_or_refused_in_one_line(word: str) -> None:
    try:
        from_word(word)
    except InputError as error:
        assert "\n" not in str(error)


def test_a_small_word_does_not_unpack_without_end() -> None:
    with pytest.raises(InputError, match="too large"):
        from_word(pack_ids(torch.zeros(20_000_000, dtype=torch.long)))


def written(directory: Path, modality: str, checkpoint: str, prompt: Prompt | None = None) -> Result:
    """A result in two parts."""
    kind = load_modality(modality)
    loaded = load_named(kind, Library(directory, modality).entries(), checkpoint)
    *_, (result,) = grow([new_result(kind, loaded, prompt, 40, Sampling(temperature=0.9, seed=3), range(3))])
    assert result
    *_, (result,) = grow([continued(replace(result, chosen=1), 20)])
    assert result
    return result


@pytest.mark.parametrize("modality", ["text", "audio", "music"])
def test_a_recipe_makes_the_same_result_again(tiny_checkpoints: Path, modality: str) -> None:
    prompt = Prompt(torch.tensor([5, 4, 9, 12]), title="a title")
    result = written(tiny_checkpoints, modality, f"{modality}-haar", prompt)
    assert result.recipe.lengths == (40, 20) and result.recipe.variation == 1
    entries = Library(tiny_checkpoints, modality).entries()
    (recipe,) = from_word(to_word([result.recipe]))
    assert recipe == result.recipe
    *_, (again,) = grow([remade(load_modality(modality), entries, recipe)])
    assert again and again.completion.ids.equal(result.completion.ids) and again.recipe == recipe


def test_the_recipe_of_a_stopped_result_is_that_of_what_there_is(tiny_checkpoints: Path) -> None:
    result = written(tiny_checkpoints, "text", "text-haar")
    for count, lengths in ((50, (40, 10)), (40, (40,)), (7, (7,))):
        part = replace(result.completion, ids=result.completion.ids[:count])
        (shorter,) = stopped([replace(result, completions=(part,))])
        assert shorter and shorter.recipe.lengths == lengths and not shorter.completion.ongoing


def test_the_digest_decides_not_the_name(tiny_checkpoints: Path, tmp_path: Path) -> None:
    result = written(tiny_checkpoints, "text", "text-haar")
    (tmp_path / "renamed").symlink_to(tiny_checkpoints / "text-haar")
    (tmp_path / "text-haar").symlink_to(tiny_checkpoints / "text-baseline")
    entries = Library(tmp_path, "text").entries()
    kind = load_modality("text")
    assert remade(kind, entries, result.recipe).name == "renamed"
    with pytest.raises(InputError, match="which is not here"):
        remade(kind, {"text-haar": entries["text-haar"]}, result.recipe)
    with pytest.raises(InputError, match="a recipe for text, not for music"):
        remade(load_modality("music"), {}, result.recipe)


@pytest.mark.parametrize("modality", ["text", "audio", "music"])
def test_every_file_holds_its_recipe(tiny_checkpoints: Path, tmp_path: Path, modality: str) -> None:
    result, kind = written(tiny_checkpoints, modality, f"{modality}-haar"), load_modality(modality)
    word = to_word([result.recipe])
    for suffix in kind.files:
        path = tmp_path / f"it{suffix}"
        kind.write(result.completion, result.loaded.tokenizer, path, word)
        if suffix == ".txt":
            assert path.read_text() == result.loaded.tokenizer.decode(result.completion.ids)
            continue
        assert find_recipe(path) == [result.recipe]
        kind.write(result.completion, result.loaded.tokenizer, tmp_path / f"plain{suffix}")
        with pytest.raises(InputError, match="holds no recipe"):
            find_recipe(tmp_path / f"plain{suffix}")
        if suffix == ".wav":
            with_recipe, without = (soundfile.read(one)[0] for one in (path, tmp_path / "plain.wav"))
            assert (with_recipe == without).all() and soundfile.SoundFile(path).comment == marked(word)
        if suffix == ".mid":
            assert MidiTokenizer().encode(path).equal(MidiTokenizer().encode(tmp_path / "plain.mid"))
        if suffix == ".json":
            assert json.loads(path.read_text())["made_from"][0]["checkpoint"] == "text-haar"


def test_a_file_without_recipe_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "other.mid").write_bytes(b"MThd")
    (tmp_path / "cut.wav").write_bytes(marked(to_word([RECIPE]))[:60].encode())
    for name, message in (("other.mid", "holds no recipe"), ("none", "No such file"), ("cut.wav", "damaged")):
        with pytest.raises(InputError, match=message):
            find_recipe(tmp_path / name)


def test_every_checkpoint_has_its_own_digest(tiny_checkpoints: Path) -> None:
    digests = {entry.digest for entry in find_checkpoints(tiny_checkpoints)}
    assert len(digests) == 6 and all(len(one) == 16 for one in digests)
