"""The arguments and answers of the endpoints, as JSON schemas with a sentence for each."""

from collections.abc import Mapping
from typing import Any

from gradio.components import Component
from gradio.components.api_component import Api

from waveletgpt.app.checkpoints import Library
from waveletgpt.app.modalities.base import AppModality
from waveletgpt.app.web.components import default_checkpoints, default_settings
from waveletgpt.app.web.session import CARDS

Schema = dict[str, Any]
"""A JSON schema."""
META = {"_type": "gradio.FileData"}
"""Marks an object as a file of gradio's."""
FILE: Schema = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "meta": {"type": "object", "properties": {"_type": {"const": META["_type"], "type": "string"}}},
    },
}
"""A file. Unlike the schema of `FileData` it has no references, which gradio resolves at the top level only."""

RESULT = {
    "checkpoint": ("string", "Name of the checkpoint."),
    "mixer": ("string", "Layer between its blocks; none for a baseline."),
    "seed": ("integer", "Seed that the result was drawn with."),
    "variation": ("integer", "Number of the variation, from 0."),
    "tokens": ("integer", "Number of new tokens so far."),
    "bits_per_token": ("number", "The model's own loss on what it wrote."),
    "bits_per_token_by_other": ("number or null", "The other model's loss on it; null until the end."),
    "tokens_per_second": ("number", "Speed of this result while others are written beside it."),
    "first_divergence": ("integer or null", "New tokens before A and B first differ; null if they do not."),
    "recipe": ("string", "What makes this result again, as the argument of the same name."),
}
"""JSON type and meaning of each fact about a result of any kind. `AppModality.fact_types` has the others."""
CHECKPOINT = {
    "name": ("string", "Name, as the arguments of other endpoints take it."),
    "modality": ("string", "Kind of data."),
    "mixer": ("string", "Layer between its blocks; none for a baseline."),
    "digest": ("string", "Of weights, model and tokenizer: what recipes know it by."),
    "steps": ("integer", "Training steps."),
    "tokens": ("integer", "Tokens that it was trained on, repetitions included; 0 if unknown."),
    "losses": ("object", "Losses in nats per token, by name."),
    "sampling": ("object", "Settings that it generates with by default, where it has its own."),
}
ALTERNATIVE = {
    "token": ("integer", "The token's id."),
    "label": ("string", "Its name for people: a character, a sample's value, an event."),
    "probability": ("number", "Before temperature and filters."),
}
SCALES = {
    "checkpoint": ("string", "Name of the checkpoint."),
    "tokens": ("integer", "Number of tokens."),
    "windows": ("array", "Tokens that each level averages."),
    "values": ("array", "How far each level is from its mean: by layer, level and column of time, 500 at most."),
}
NOVELTY = {
    "checkpoint": ("string", "Name of the checkpoint."),
    "units": ("integer", "Number of words, intervals between notes, or waves."),
    "name": ("string", "What they are called."),
    "shared": ("integer", "Of them, the longest run that the training data have too; 0 if shorter than 4."),
    "begin": ("integer", "First token of that run."),
    "end": ("integer", "The token after its last."),
    "file": ("string", "File of the training data that holds it."),
    "place": ("number", "The part of that file before it, 0 to 1."),
    "usual": ("array", "Shared runs of held-out passages of that length: 10th, 50th and 90th percentile."),
}
SCORE = {
    "checkpoint": ("string", "Name of the checkpoint."),
    "tokens": ("integer", "Number of tokens."),
    "bits_per_token": ("number", "Mean of bits."),
    "bits": ("array", "-log2 of the probability of each token, given those before it in the model's context."),
}


def schema(kinds: str, description: str) -> Schema:
    """The JSON schema of types such as "integer" or "number or null".

    Gradio shows the description of a type, but of a parameter its additional description.
    """
    options: list[Schema] = [
        {"type": kind, **({"items": {}} if kind == "array" else {})} for kind in kinds.split(" or ")
    ]
    kind = options[0] if len(options) == 1 else {"anyOf": options}
    return {**kind, "description": description, "additional_description": description}


def object_schema(types: Mapping[str, tuple[str, str]], **further: Schema) -> Schema:
    """The JSON schema of an object, from the type and the meaning of its values."""
    properties = {name: schema(kinds, description) for name, (kinds, description) in types.items()}
    return {"type": "object", "properties": {**properties, **further}}


def upload(description: str) -> Component:
    """An argument that is a file. Unlike `gr.File` it lets other values through, for `api.uploaded` to refuse."""
    about = {"description": description, "additional_description": description}
    return Api(None, FILE | about, "file")


def parameters(modality: AppModality[Any], library: Library) -> dict[str, Component]:
    """The arguments of `/generate_<modality>`, with their defaults."""
    entries, length, keep = library.entries(), modality.length, modality.keep
    first, second = default_checkpoints(entries)
    given = {"checkpoint_a": first, "checkpoint_b": second, "recipe": ""}
    values = given | default_settings(modality, entries.get(second or "")) | {"length": length.default}
    unit, known = modality.unit, ", ".join(entries)
    rows = {
        "checkpoint_a": ("string or null", f"Checkpoint of A, such as {known}; null for none."),
        "checkpoint_b": ("string or null", "Checkpoint of B; null for none."),
        "recipe": ("string", "Recipe of a result, to make it again; all other arguments are then ignored."),
        "length": ("number", f"New {unit}, {length.lowest:g} to {length.highest:g}."),
        "temperature": ("number", "Below 1 tamer, above 1 wilder; 0 takes the likeliest."),
        "seed": ("integer", "Seed of the random numbers, below 2**64: equal seeds give equal results on a CPU."),
        "variations": ("integer", f"Results of each checkpoint, 1 to {modality.most_variations}."),
        "paired": ("boolean", "Whether A and B draw with the same random numbers; else B's seed is one more."),
        "keep": ("number", f"Use at most so many {unit} of the prompt's end, {keep.lowest:g} to {keep.highest:g}."),
        "top_k": ("integer", "Number of likeliest tokens to choose from; 0 for all."),
        "top_p": ("number", "Probability of the likeliest tokens to choose from; 1 for all."),
        "min_p": ("number", "Least probability, as a part of the highest; 0 for all."),
        "repetition_penalty": ("number", "Above 1, tokens that are there become less likely; 1 changes nothing."),
    }
    field = modality.prompt
    about = f"{field.label}. {field.hint}"
    if field.suffixes:
        prompt = upload(f"{about} Accepted are {', '.join(field.suffixes)}.")
    else:
        prompt = Api("", schema("string", about), "prompt")
    return {
        "prompt": prompt,
        **{name: Api(values[name], schema(kinds, text), name) for name, (kinds, text) in rows.items()},
    }


def outputs(modality: AppModality[Any]) -> list[Component]:
    """The answer of `/generate_<modality>`: an object for each card."""
    types = {**RESULT, **modality.fact_types}
    files = {
        "type": "object",
        "properties": {suffix[1:]: FILE for suffix in modality.files},
        "description": f"The result in each format{'' if modality.heard_early else ', at the end'}.",
    }
    every = {
        "type": "array",
        "items": object_schema(types, files=files),
        "description": "All variations; the first is that above.",
    }
    answer = object_schema(types, files=files, variations=every)
    return [Api(None, answer, f"result_{card}") for card in CARDS]
