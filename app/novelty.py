"""`waveletgpt novelty`: the longest run that a file shares with what a checkpoint was trained on."""

import math

from waveletgpt.app.checkpoints import load
from waveletgpt.app.commands import Novelty
from waveletgpt.app.instruments.novelty import find_index, novelty
from waveletgpt.app.modalities.base import load_modality
from waveletgpt.common.errors import InputError
from waveletgpt.common.overlap import read_index
from waveletgpt.models.checkpoint import read_info


def run(options: Novelty) -> None:
    """Run the command. Raises InputError if the file, the checkpoint or the index cannot be used."""
    modality = load_modality(read_info(options.checkpoint).modality)
    loaded = load(options.checkpoint, modality.name, modality.tokenizer_kind)
    prompt = modality.kept_prompt(options.file, math.inf, loaded.tokenizer)
    if prompt is None:
        raise InputError(f"{options.file} is empty; give a file of {modality.name}")
    index = read_index(options.index) if options.index else find_index(loaded, options.checkpoint.resolve().parent)
    found = novelty(index, loaded, prompt.ids)
    print(f"{options.file}: {found.shared_in_words}.")
    if found.shared and modality.is_printed:
        print(loaded.tokenizer.decode(prompt.ids[found.begin : found.end]))
    print(found.verdict)
