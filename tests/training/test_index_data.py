"""Training data are indexed from their prepared form."""

from pathlib import Path

import numpy as np
import pytest
import torch

from waveletgpt.common.overlap import read_index
from waveletgpt.tokenizers.characters import CharacterTokenizer
from waveletgpt.training.data import DatasetInfo, write_dataset
from waveletgpt.training.index_data import main


def test_an_index_is_written_with_what_held_out_passages_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = np.random.default_rng(0).choice(["red", "green", "blue", "old", "new"], 4000)
    text = " ".join(words.tolist())
    tokenizer = CharacterTokenizer.from_text(text)
    ids = tokenizer.encode(text)
    begin, rest = ids[:12_000], ids[12_000:]
    info = DatasetInfo("text", tokenizer.to_dict(), tokenizer.vocab_size, "bits per character", "words", "CC0")
    pieces = {"train": [begin], "val": [rest], "test": [torch.zeros(0, dtype=torch.long)]}
    written = write_dataset(tmp_path / "data", info, pieces)
    out = tmp_path / "seen" / "text.safetensors"
    monkeypatch.setattr("sys.argv", ["index_data.py", "--data", str(tmp_path / "data"), "--out", str(out)])
    main()
    index = read_index(out)
    assert len(index.units) == len(tokenizer.decode(begin).split()) and index.names == ["data"]
    assert index.sha256 == written.splits["train"]["sha256"]
    medians = [middle for _, middle, _ in index.usual]
    assert 4 <= medians[0] <= medians[-1] <= 9  # 5 words in 3,000 places: chance repeats 5 to 6 of them
    assert "held-out passages of 100 share" in capsys.readouterr().out
