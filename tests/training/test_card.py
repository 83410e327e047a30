"""The model card: the Hub's metadata, and how the model was trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from waveletgpt.models.checkpoint import load_checkpoint, read_info
from waveletgpt.training.config import TrainConfig, training_command
from waveletgpt.training.runs.card import hub_license, model_card
from waveletgpt.training.trainer import train


@pytest.mark.parametrize(
    ("licence", "identifier"),
    [
        ("CC0", "cc0-1.0"),
        ("CC0 1.0", "cc0-1.0"),
        ("CC BY 4.0", "cc-by-4.0"),
        ("CC BY-NC-SA 4.0: non-commercial use only, with credit", "cc-by-nc-sa-4.0"),
        ("cc-by-sa-3.0", "cc-by-sa-3.0"),
        ("CC0 or public domain; 7 files CC BY-SA 4.0, one CC BY 3.0", "other"),
        ("public domain texts; ELTeC's markup CC BY 4.0", "other"),
        ("PSF License Agreement", "other"),
        ("not stated", "other"),
    ],
)
def test_the_hub_knows_a_licence_by_its_identifier(licence: str, identifier: str) -> None:
    """A licence of several parts must not become one of them."""
    assert hub_license(licence) == (identifier, licence if identifier == "other" else None)


def test_a_run_writes_a_card_that_says_how_it_was_trained(debug: Callable[..., TrainConfig], tmp_path: Path) -> None:
    config = debug(tmp_path / "bottles-run", seed=5)
    train(config)
    for name in ("best", "last"):
        info = read_info(config.out / name)
        card = (config.out / name / "README.md").read_text()
        assert card.startswith(
            "---\nlicense: cc0-1.0\nlibrary_name: waveletgpt\npipeline_tag: text-generation\ntags:\n"
        )
        head = card.split("---\n")[1]
        assert 'datasets:\n- "bottles"\n' in head
        assert all(f"- {tag}\n" in head for tag in ("waveletgpt", "wavelets", "text"))
        portable = replace(config, data=Path("data/bottles"), out=Path("runs/bottles-run"))
        command = training_command(portable.to_dict())
        assert "--seed 5" in command and f"\n{command}\n" in card
        assert info.trained_on["hardware"] in card and "PyTorch" in card and "hours" in card
        assert "Muon" in card and "over 8 windows" in card
        assert str(tmp_path) not in card + (config.out / name / "config.json").read_text()


def test_a_card_tells_of_changed_settings_and_leaves_out_what_is_not_known(
    debug: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    config = debug(tmp_path)
    train(config)
    train(replace(config, resume=True, allow_changes=True, batch_size=4, steps=30))
    model, info = load_checkpoint(tmp_path / "last").model, read_info(tmp_path / "last")
    row = {"train_loss": 2.0, "val_loss": 2.0, "seconds": 7200.0}
    card = model_card(model, info, row)
    assert "Until step 20: `--batch-size 8 --steps 20`." in card and "| 2 hours in training steps |" in card
    assert "Until" not in model_card(model, replace(info, steps=20), row)  # saved before the change
    known = {name: info.trained_on[name] for name in ("source", "licence", "report")}
    bare = model_card(model, replace(info, trained_on=known), row)
    assert "hardware" not in bare and "train.py" not in bare and "license: cc0-1.0" in bare
