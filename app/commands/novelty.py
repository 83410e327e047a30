"""`waveletgpt novelty`: the longest run that a file shares with what a checkpoint was trained on."""

import math

from waveletgpt.app.checkpoints import load_any
from waveletgpt.app.commands.options import Novelty
from waveletgpt.app.instruments.novelty import find_index, novelty
from waveletgpt.app.locating import locate
from waveletgpt.app.modalities.base import load_modality
from waveletgpt.common.errors import InputError
from waveletgpt.common.overlap import read_index


def run(options: Novelty) -> None:
    """Run the command. Raises InputError if the file, the checkpoint or the index cannot be used."""
    directory = locate(options.checkpoint)
    loaded = load_any(directory)
    modality = load_modality(loaded.info.modality)
    prompt = modality.kept_prompt(options.file, math.inf, loaded.tokenizer)
    if prompt is None:
        raise InputError(f"{options.file} is empty; give a file of {modality.name}")
    index = read_index(options.index) if options.index else find_index(loaded, directory.resolve().parent)
    found = novelty(index, loaded, prompt.ids)
    print(f"{options.file}: {found.shared_in_words}.")
    if found.shared and modality.is_printed:
        print(loaded.tokenizer.decode(prompt.ids[found.begin : found.end]))
    print(found.verdict)
