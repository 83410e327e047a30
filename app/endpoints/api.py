"""The endpoints for programs. They share bounds and code with the page."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.components.api_component import Api

from waveletgpt.app.checkpoints import Library, LoadedCheckpoint
from waveletgpt.app.endpoints.questions import Questions, listed, reading
from waveletgpt.app.endpoints.schemas import (
    ALTERNATIVE,
    CHECKPOINT,
    META,
    NOVELTY,
    SCALES,
    SCORE,
    object_schema,
    outputs,
    parameters,
    schema,
    upload,
)
from waveletgpt.app.modalities.base import AppModality, Prompt
from waveletgpt.app.recipe import to_word
from waveletgpt.app.results import Results, divergence, grow, ongoing
from waveletgpt.app.scoring import cross_score
from waveletgpt.app.serving.visitors import Visitors, visitor
from waveletgpt.app.web.inputs import Settings, from_recipe, left_out, new_results
from waveletgpt.app.web.session import CARDS
from waveletgpt.common.errors import InputError, quoted


class Endpoint:
    """`/generate_<modality>`."""

    def __init__(self, modality: AppModality[Any], library: Library, visitors: Visitors) -> None:
        self.modality, self.library, self.visitors = modality, library, visitors

    def generate(self, prompt: Any, checkpoint_a: Any, checkpoint_b: Any, recipe: Any, *settings: Any) -> Iterator[Any]:
        """The results of A and B as they grow. The last ones have files and each model's loss on the other's."""
        self.visitors.wait_for_reader()
        results = self._results(prompt, [checkpoint_a, checkpoint_b], recipe, Settings(*settings))
        steps = [task.steps for task in ongoing(results)]
        with self.visitors.scheduler.enter(self.modality.name, visitor(), steps) as place:
            for _ in self.visitors.in_line(place):
                pass
            answered = -math.inf
            with closing(grow(results, turns=place.turns)) as growing:
                for results in growing:
                    self.visitors.check_reader()
                    begun = all(one.completion.written for one in results if one)
                    if begun and time.monotonic() - answered >= self.modality.refresh:
                        yield from self._answer(by_variation(results), files=self.modality.heard_early)
                        answered = time.monotonic()
        pairs = []
        (turn,) = self.visitors.scheduler.turns("score", [1])
        for pair in by_variation(results):
            pairs.append(pair)
            for pairs[-1] in turn.slices(cross_score(pair)):
                self.visitors.check_reader()
        yield from self._answer(pairs, files=True)

    def _results(self, prompt: Any, names: list[Any], recipe: Any, settings: Settings) -> Results:
        modality, entries = self.modality, self.library.entries()
        if not left_out(recipe):
            if not isinstance(recipe, str):
                raise InputError(f"recipe is {quoted(recipe)}; it must be text")
            return from_recipe(modality, entries, recipe)
        length = settings.within("length", modality.length, modality.unit)
        keep = settings.within("keep", modality.keep, modality.unit)

        def read(loaded: LoadedCheckpoint) -> Prompt | None:
            with reading(modality, prompt) as source:
                return modality.kept_prompt(source, keep, loaded.tokenizer)

        return new_results(modality, entries, names, settings, length, read)

    def _answer(self, pairs: list[Results], *, files: bool) -> Iterator[tuple[Any, ...]]:
        """One object for each card, from the results of each variation."""
        with tempfile.TemporaryDirectory() as folder:  # gradio copies the files before it asks for more
            answers: list[list[dict[str, Any]]] = [[] for _ in CARDS]
            for number, pair in enumerate(pairs):
                for card, answer, result in zip(CARDS, answers, pair, strict=True):
                    if result:
                        paths = result.write(self.modality, Path(folder, card, str(number))) if files else {}
                        answer.append(
                            {
                                **result.facts(self.modality),
                                "first_divergence": divergence(pair),
                                "recipe": to_word([result.recipe]),
                                "files": {suffix[1:]: served(path) for suffix, path in paths.items()},
                            }
                        )
            yield tuple((answer and {**answer[0], "variations": answer}) or None for answer in answers)


def by_variation(results: Results) -> list[Results]:
    """The results with each of their variations chosen."""
    count = max(len(result.completions) for result in results if result)
    return [[result and replace(result, chosen=number) for result in results] for number in range(count)]


def served(path: Path) -> dict[str, Any]:
    """A file in an answer. Gradio copies it and adds its address."""
    return {"path": str(path), "meta": META}


def add_endpoints(libraries: dict[str, Library], modalities: dict[str, AppModality[Any]], visitors: Visitors) -> None:
    """Add the endpoints to the page: `/generate_<modality>` for each kind of data that has checkpoints, and questions.

    Args:
        libraries: the checkpoints of each kind of data.
        modalities: the kinds of data.
        visitors: who is there.
    """
    with gr.Column(visible=False) as unseen:
        for name, library in libraries.items():
            if library.entries():
                modality = modalities[name]
                generate, inputs = Endpoint(modality, library, visitors).generate, parameters(modality, library)
                serve(generate, inputs, outputs(modality), f"generate_{name}", describe(modality))
        every: dict[str, Any] = {"type": "array", "items": object_schema(CHECKPOINT)}
        about = "List the checkpoints, those that appeared since the start included."
        serve(lambda: listed(libraries), {}, [Api(None, every, "checkpoints")], "checkpoints", about)
        asked = {
            "checkpoint": Api("", schema("string", "Name of a checkpoint, as /checkpoints lists it."), "checkpoint"),
            "text": Api("", schema("string", "Text, for a text checkpoint."), "text"),
            "file": upload("For another checkpoint: an audio file or a MIDI file."),
        }
        questions = Questions(libraries, modalities, visitors)
        about = "Score a text or a file under a checkpoint: the bits of each token in its context, and their mean."
        serve(questions.score, asked, [Api(None, object_schema(SCORE), "score")], "score", about)
        about = "List the likeliest tokens after a text or a file under a checkpoint; those it begins with, without."
        likeliest: dict[str, Any] = {"type": "array", "items": object_schema(ALTERNATIVE)}
        serve(questions.alternatives, asked, [Api(None, likeliest, "alternatives")], "alternatives", about)
        about = "Show what each level of each wavelet layer of a checkpoint holds over a text or a file."
        serve(questions.scales, asked, [Api(None, object_schema(SCALES), "scales")], "scales", about)
        about = "Find the longest run that a text or a file shares with the training data of a checkpoint."
        serve(questions.novelty, asked, [Api(None, object_schema(NOVELTY), "novelty")], "novelty", about)
    unseen.parent.children.remove(unseen)  # the browser need not build them, nor search among them at every event


def serve(
    function: Callable[..., Any],
    inputs: dict[str, Component],
    outputs: list[Component],
    name: str,
    description: str,
) -> None:
    """Serve `function`, whose arguments are called as `inputs` are, as an endpoint and as an MCP tool of this name."""

    def answer(*values: Any) -> Any:
        return function(*values)

    def answers(*values: Any) -> Iterator[Any]:
        yield from function(*values)

    endpoint: Any = answers if name.startswith("generate") else answer
    # Gradio takes the names and defaults of arguments from the signature; MCP its texts from name and docstring.
    endpoint.__signature__ = Signature(
        [Parameter(one, Parameter.POSITIONAL_OR_KEYWORD, default=None) for one in inputs]
    )
    sentences = [f"    {one}: {component.api_info()['description']}" for one, component in inputs.items()]
    endpoint.__name__, endpoint.__doc__ = name, "\n".join([description, "Args:", *sentences])
    gr.Button(visible=False).click(
        endpoint,
        [*inputs.values()],
        outputs,
        api_name=name,
        api_description=description,
        preprocess=False,
    )


def describe(modality: AppModality[Any]) -> str:
    """What `/generate_<modality>` does."""
    return (
        f"Continue a {modality.name} prompt with two checkpoints, A and B. Returns an object for each, with the facts, "
        "the files and the recipe of its result; null for a side without checkpoint. Answers come while the results "
        f"grow; files {'too' if modality.heard_early else 'at the end'}."
    )
