"""Checkpoints with a damaged config.json, header or weights."""

import json
import shutil
import sys
from pathlib import Path
from random import Random

import torch
from damage import damaged, damaged_value, json_bytes
from promises import check, check_refusal

from waveletgpt.app.checkpoints import find_checkpoints, load
from waveletgpt.common.errors import InputError
from waveletgpt.models.checkpoint import file_sha256
from waveletgpt.models.generation import generate, score
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.tokenizers.midi import MidiTokenizer
from waveletgpt.tokenizers.mulaw import MuLawTokenizer

sys.path.append(str(Path(__file__).parents[1] / "helpers"))
from tiny import write_tiny

SOURCES = {
    "text": ("characters", CharacterTokenizer("\n abcdef"), "learnable"),
    "audio": ("mulaw", MuLawTokenizer(sample_rate=4000), "haar"),
    "music": ("midi", MidiTokenizer(), "none"),
}


class Kind:
    """Lists, loads and runs checkpoints as the app does."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        self.folder, self.sources = folder, folder / "sources"
        for modality, (_, tokenizer, mixer) in SOURCES.items():
            write_tiny(self.sources / modality, modality, tokenizer, mixer)

    def run(self, random: Random) -> str:
        """Damage, load and run one checkpoint."""
        modality = random.choice(list(SOURCES))
        kind, _, _ = SOURCES[modality]
        damage = random.choice(
            (config_bytes, config_value, config_value, config_value, header, header, weights, nothing)
        )
        target = self.folder / "damaged" / "one"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.sources / modality, target)
        damage(target, random)
        try:
            find_checkpoints(target.parent)  # may warn, and never fails
            loaded = load(target, modality, kind)
            vocab_size = loaded.model.config.vocab_size
            ids = torch.arange(8)[None] % vocab_size
            loss = -score(loaded.model, ids).mean()
            check(bool(loss.isfinite()) and loss >= 0, f"loss {loss}")
            new = torch.cat([step.ids for step in generate(loaded.model, ids, 4)])
            check(int(new.min()) >= 0 and int(new.max()) < vocab_size, "ids")
            loaded.tokenizer.decode(new)
        except InputError as error:
            check_refusal(str(error).replace(str(target), "checkpoint"), str(self.folder))
            check(damage is not nothing, f"a whole checkpoint is refused: {error}")
            return "refused"
        return "read"


def nothing(target: Path, random: Random) -> None:
    """Leave it whole."""


def config_bytes(target: Path, random: Random) -> None:
    """Damage the bytes of config.json."""
    path = target / "config.json"
    path.write_bytes(damaged(path.read_bytes(), random))


def config_value(target: Path, random: Random) -> None:
    """Damage values of config.json."""
    path = target / "config.json"
    config = json.loads(path.read_text("utf-8"))
    for _ in range(random.choice((1, 1, 1, 3))):
        part = random.choice(("model", "model", "tokenizer", ""))
        if isinstance(config, dict) and isinstance(config.get(part), dict):
            config[part] = damaged_value(config[part], random)
        else:
            config = damaged_value(config, random)
    path.write_bytes(json_bytes(config))


def header(target: Path, random: Random) -> None:
    """Damage the header of model.safetensors: names, types, shapes and places of its tensors, and its length."""
    path = target / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    content, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    if random.random() < 0.7:
        content = damaged_value(content, random)
    changed = json_bytes(content)
    length = (
        len(changed) if random.random() < 0.8 else random.choice((0, 1, size - 1, size + 1, 2**32, 2**63, 2**64 - 1))
    )
    path.write_bytes(length.to_bytes(8, "little") + changed + body)
    trusted(target, random)


def weights(target: Path, random: Random) -> None:
    """Damage anything in model.safetensors, or make weights NaN, infinite or huge."""
    path = target / "model.safetensors"
    data = path.read_bytes()
    if random.random() < 0.5:
        path.write_bytes(damaged(data, random))
    else:
        at = random.randrange(8 + int.from_bytes(data[:8], "little"), len(data) - 1) & ~1
        value = random.choice(
            (b"\x00\x7e", b"\x00\x7c", b"\x00\xfc", b"\xff\x7b")
        )  # NaN, inf, -inf, the largest float16
        count = random.choice((1, 2, 500))
        path.write_bytes((data[:at] + value * count + data[at + 2 * count :])[: len(data)])
    trusted(target, random)


def trusted(target: Path, random: Random) -> None:
    """Most of the time, store the digest of the damaged weights, or none, so that they are read."""
    if random.random() < 0.8:
        path = target / "config.json"
        config = json.loads(path.read_text("utf-8"))
        config["weights_sha256"] = random.choice(("", file_sha256(target / "model.safetensors")))
        path.write_text(json.dumps(config), encoding="utf-8")
