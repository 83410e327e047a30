import errno
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from waveletgpt.common import files
from waveletgpt.common.errors import DiskFullError, InputError
from waveletgpt.models import checkpoint
from waveletgpt.models.checkpoint import CheckpointInfo, load_checkpoint, read_info, save_checkpoint, update_info
from waveletgpt.models.gpt import GPT, GPTConfig
from waveletgpt.models.mixers import MIXERS

torch.set_num_threads(1)

SIZES = ("vocab_size", "n_layer", "n_embd", "n_hidden")
MUST_BE = "or less"

TINY = GPTConfig(vocab_size=11, block_size=32, n_layer=3, n_head=2, n_embd=8, n_hidden=12, n_levels=3)
INFO = CheckpointInfo(
    modality="text",
    model=TINY,
    tokenizer={"kind": "characters", "alphabet": "abcdefghijk", "replacement": None},
    trained_on={"source": "a novel", "licence": "none", "report": "bits per character"},
    steps=20,
    tokens=1280,
    seed=3,
    losses={"train": 1.5, "val": 1.25},
)


def gpt(seed: int = 0, **changes: Any) -> GPT:
    torch.manual_seed(seed)
    return GPT(replace(TINY, **changes))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    directory = tmp_path / "checkpoint"
    save_checkpoint(directory, gpt(), INFO, metrics='{"step": 20}\n', card="# A card\n")
    return directory


def stored(info: CheckpointInfo, directory: Path) -> CheckpointInfo:
    """`info` as a checkpoint in `directory` has it, with the digest of the weights there."""
    return replace(info, weights_sha256=hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest())


def refused(directory: Path, **options: Any) -> str:
    with pytest.raises(InputError) as refusal:
        load_checkpoint(directory, **options)
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    return message


@pytest.mark.parametrize(
    "changes",
    [
        *({"mixer": mixer, "positions": positions} for mixer in MIXERS for positions in ("rope", "learned")),
        *({"mixer": mixer, "site": site} for mixer in ("haar", "multiscale") for site in ("keys-values", "both")),
        {"mixer": "key-means", "site": "keys-values", "positions": "half-rope"},
    ],
)
def test_what_is_loaded_is_what_was_saved(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = gpt(**changes).train()
    info = replace(INFO, model=model.config)
    save_checkpoint(tmp_path / "c", model, info)
    loaded = load_checkpoint(tmp_path / "c", modality="text")
    assert loaded.info == stored(info, tmp_path / "c") == read_info(tmp_path / "c")
    assert loaded.model.config == model.config
    assert not loaded.model.training
    weights, expected = loaded.model.state_dict(), model.state_dict()
    assert weights.keys() == expected.keys()
    for name, weight in weights.items():
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, expected[name], rtol=2**-11, atol=2**-25)  # half precision
    tokens = torch.randint(11, (2, 32))
    torch.testing.assert_close(loaded.model(tokens), model(tokens), rtol=0, atol=1e-3)


def test_weights_are_stored_in_the_precision_asked_for(tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.float32, torch.bfloat16):
        save_checkpoint(tmp_path / "c", gpt(), INFO, dtype=dtype)
        assert {w.dtype for w in load_file(tmp_path / "c" / "model.safetensors").values()} == {dtype}
    save_checkpoint(tmp_path / "c", gpt(), INFO, dtype=torch.float32)
    for name, weight in load_checkpoint(tmp_path / "c").model.state_dict().items():
        assert torch.equal(weight, gpt().state_dict()[name])


def test_a_checkpoint_is_four_readable_files(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == [
        "README.md",
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
    ]
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint"]
    config = json.loads((saved / "config.json").read_text())
    assert config["format_version"] == 1
    assert config["model_type"] == "waveletgpt"
    assert config["modality"] == "text"
    assert config["model"]["mixer"] == "none"
    assert config["tokenizer"] == INFO.tokenizer
    assert (saved / "metrics.jsonl").read_text() == '{"step": 20}\n'
    assert (saved / "README.md").read_text() == "# A card\n"
    for path in saved.iterdir():
        assert path.stat().st_mode & 0o777 == 0o644
        assert not path.read_bytes().startswith((b"PK", b"\x80"))  # the first bytes of torch's archives and of pickles


def test_the_same_model_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "again", gpt(), INFO, metrics='{"step": 20}\n', card="# A card\n")
    for path in saved.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_a_checkpoint_replaces_the_one_before(saved: Path) -> None:
    save_checkpoint(saved, gpt(seed=1), replace(INFO, steps=40))
    assert read_info(saved).steps == 40
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint"]
    weights = load_checkpoint(saved).model.state_dict()
    torch.testing.assert_close(weights["head.weight"], gpt(seed=1).head.weight.detach(), rtol=1e-3, atol=1e-6)


def test_nothing_but_a_checkpoint_is_replaced(saved: Path) -> None:
    (saved / "notes.txt").write_text("dear to me")
    with pytest.raises(InputError, match="notes"):
        save_checkpoint(saved, gpt(seed=1), INFO)
    assert (saved / "notes.txt").read_text() == "dear to me"
    with pytest.raises(InputError, match="is a file"):
        save_checkpoint(saved / "notes.txt", gpt(), INFO)
    save_checkpoint(saved / "new", gpt(), INFO)
    assert read_info(saved / "new") == stored(INFO, saved / "new")


def test_other_files_are_kept_where_that_is_asked_for(saved: Path) -> None:
    (saved / "notes.txt").write_text("dear to me")
    save_checkpoint(saved, gpt(seed=1), replace(INFO, steps=40), keep_others=True)
    assert read_info(saved).steps == 40
    assert (saved / "notes.txt").read_text() == "dear to me"


def test_weights_that_cannot_be_written_are_an_os_error(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def save_file(*_: Any, **__: Any) -> None:
        raise SafetensorError(f"Error while serializing: I/O error: No space left on device (os error {number})")

    monkeypatch.setattr(checkpoint, "save_file", save_file)
    number = errno.ENOSPC
    with pytest.raises(DiskFullError, match=r"checkpoint cannot be written \(No space left on device\)"):
        save_checkpoint(saved, gpt(seed=1), INFO)
    number = errno.EACCES
    with pytest.raises(PermissionError):
        save_checkpoint(saved, gpt(seed=1), INFO)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint"]


def test_an_error_while_saving_leaves_the_one_before(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def unchanged() -> bool:
        same = {path.name: path.read_bytes() for path in saved.iterdir()} == before
        return same and [path.name for path in saved.parent.iterdir()] == ["checkpoint"]

    with pytest.raises(TypeError):  # after the weights have been written
        save_checkpoint(saved, gpt(seed=1), replace(INFO, trained_on={"source": object()}))
    assert unchanged()

    def broken(self: Path, target: Path) -> Path:
        if target == saved and self.name == "new":  # the old checkpoint has already been moved away
            raise OSError("the disk is gone")
        return rename(self, target)

    rename = Path.replace
    with monkeypatch.context() as patch, pytest.raises(OSError, match="the disk is gone"):
        patch.setattr(files, "_exchanged", lambda *_: False)
        patch.setattr(Path, "replace", broken)
        save_checkpoint(saved, gpt(seed=1), INFO)
    assert unchanged()
    load_checkpoint(saved)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    for directory in (tmp_path / "nowhere", tmp_path):
        assert "no config.json" in refused(directory)
    (tmp_path / "file").write_text("")
    assert "no config.json" in refused(tmp_path / "file")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"[1]",
        b"3",
        b'"format_version"',
        b"null",
        b"{}",
        b"\xff\xfe\x00" * 1000,
        b"[" * 100_000,
    ],
)
def test_a_damaged_configuration_is_refused(saved: Path, content: bytes) -> None:
    (saved / "config.json").write_bytes(content)
    assert "config.json" in refused(saved)


def changed(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format_version=2), "format version 2; this program reads version 1"),
        (lambda c: c.update(model_type="gpt2"), "is for a model of type 'gpt2', not waveletgpt"),
        (lambda c: c.update(colour="red"), "unknown entries: 'colour'"),
        (lambda c: c["model"].update(colour="red"), "colour"),
        (lambda c: c.pop("model"), "model"),
        (lambda c: c.pop("modality"), "modality"),
        (lambda c: c.update(model=[1]), "model"),
        (lambda c: c.update(model=None), "model"),
        (lambda c: c.update(tokenizer="characters"), "tokenizer"),
        (lambda c: c.update(losses=[1.0]), "losses"),
        (lambda c: c.update(steps="many"), "steps"),
        (lambda c: c["model"].update(mixer="db4"), "mixer is 'db4'"),
        (lambda c: c["model"].update(mixer=["haar"]), "config.json"),
        (lambda c: c["model"].update(n_embd=-8), "n_embd"),
        (lambda c: c["model"].update(dropout="a bit"), "config.json"),
        (lambda c: c["model"].update(n_embd=16), "does not hold the weights"),
        (lambda c: c["model"].update(n_layer=4), "does not hold the weights"),
        (lambda c: c["model"].update(mixer="learnable"), "does not hold the weights"),
        (lambda c: c["model"].update(positions="learned"), "does not hold the weights"),
        (lambda c: c["model"].update(n_levels=4, mixer="dyadic"), "does not hold the weights"),
        *(
            (lambda c, n=n: c["model"].update({n: 10**9}), MUST_BE if n == "n_layer" else "does not hold")
            for n in SIZES
        ),
        *((lambda c, n=n: c["model"].update({n: 10**30}), MUST_BE) for n in SIZES),
        (lambda c: c["model"].update(block_size=10**9), "block_size is 1000000000; it may be at most 11184810 for"),
        (lambda c: c["model"].update(block_size=10**30, n_levels=90), "config.json: block_size is 1000000000000"),
        (lambda c: c.update(losses={"val": float("nan")}), "losses must be finite numbers"),
        (lambda c: c.update(losses={"val": "low"}), "losses must be finite numbers"),
        (lambda c: c.update(weights_sha256=5), "wrong type for weights_sha256"),
        (lambda c: c.update(weights_sha256="0" * 64), "is damaged: its sha256 is not the one in config.json"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    saved: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    changed(saved / "config.json", change)
    assert message in refused(saved)


@pytest.mark.parametrize("length", [0, 4, 100, 2000])
def test_truncated_weights_are_refused(saved: Path, length: int) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    assert "model.safetensors" in refused(saved)


def test_missing_and_foreign_weights_are_refused(saved: Path) -> None:
    path = saved / "model.safetensors"
    save_file({"embedding.weight": torch.zeros(11, 8)}, path)
    assert "does not hold the weights" in refused(saved)
    torch.save(gpt().state_dict(), path)  # a pickle, which must never be unpickled
    assert "model.safetensors" in refused(saved)
    path.unlink()
    assert "model.safetensors" in refused(saved)
    path.mkdir()
    assert "model.safetensors" in refused(saved)


def test_sizes_are_compared_before_memory_is_taken(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def built(config: GPTConfig) -> GPT:
        assert torch.get_default_device().type == "meta", "a model was built before its sizes were compared"
        return GPT(config)

    monkeypatch.setattr(checkpoint, "GPT", built)
    changed(saved / "config.json", lambda c: c["model"].update(n_layer=2, block_size=10**6))
    assert "does not hold the weights" in refused(saved)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused(saved: Path, value: float) -> None:
    weights = load_file(saved / "model.safetensors")
    weights["norm.bias"][3] = value
    save_file(weights, saved / "model.safetensors")
    assert "is damaged: its sha256" in refused(saved)
    update_info(saved, weights_sha256="")
    assert "norm.bias has weights that are not finite" in refused(saved)
    weights["norm.bias"] = torch.full((8,), 1e300, dtype=torch.float64)  # finite, but not in float32
    save_file(weights, saved / "model.safetensors")
    assert "norm.bias has weights that are not finite" in refused(saved)
    before = (saved / "model.safetensors").read_bytes()
    model = gpt()
    model.norm.bias.data[3] = value
    with pytest.raises(InputError, match=r"is not written: norm\.bias has weights that are not finite"):
        save_checkpoint(saved, model, INFO)
    assert (saved / "model.safetensors").read_bytes() == before


def test_weights_too_large_for_half_precision_are_kept(tmp_path: Path) -> None:
    model = gpt()
    model.norm.bias.data[3] = 1e6
    save_checkpoint(tmp_path / "c", model, INFO)
    assert load_checkpoint(tmp_path / "c").model.norm.bias[3] == 1e6
    stored_types = {name: w.dtype for name, w in load_file(tmp_path / "c" / "model.safetensors").items()}
    assert stored_types.pop("norm.bias") == torch.float32
    assert set(stored_types.values()) == {torch.float16}


def test_one_changed_bit_of_the_weights_is_found(saved: Path) -> None:
    data = bytearray((saved / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (saved / "model.safetensors").write_bytes(data)
    assert "is damaged: its sha256 is not the one in config.json" in refused(saved)


def test_a_checkpoint_without_a_digest_is_given_one_when_it_is_loaded(saved: Path) -> None:
    changed(saved / "config.json", lambda c: c.pop("weights_sha256"))
    assert read_info(saved).weights_sha256 == ""
    assert load_checkpoint(saved).info == stored(INFO, saved)


def test_no_nan_becomes_json(saved: Path) -> None:
    before = (saved / "config.json").read_text()
    with pytest.raises(InputError, match=r"^losses.val is not a finite number"):
        update_info(saved, losses={"val": math.nan})
    with pytest.raises(InputError, match=r"^losses.train is not a finite number"):
        save_checkpoint(saved, gpt(), replace(INFO, losses={"train": math.inf}))
    assert (saved / "config.json").read_text() == before


def test_a_checkpoint_of_another_modality_is_refused(saved: Path) -> None:
    message = refused(saved, modality="audio")
    assert "is a checkpoint for text; one for audio is needed" in message


def test_sampling_settings_travel_with_a_checkpoint_and_wrong_ones_are_refused(saved: Path) -> None:
    assert read_info(saved).sampling == {}
    update_info(saved, sampling={"temperature": 0.7, "top_p": None})
    changed = replace(INFO, sampling={"temperature": 0.7, "top_p": None})
    assert load_checkpoint(saved).info == stored(changed, saved) == read_info(saved)
    for wrong in ({"temperature": "hot"}, {"heat": 1}, {"top_p": True}):
        update_info(saved, sampling={})
        config = json.loads((saved / "config.json").read_text())
        (saved / "config.json").write_text(json.dumps({**config, "sampling": wrong}))
        assert "sampling may set temperature, top_p, min_p, each to a number or null" in refused(saved)
        save_checkpoint(saved, gpt(), INFO)
