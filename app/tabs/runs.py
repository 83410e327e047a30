"""The tab Training: two runs as they are being written, and what each of their models wrote at every evaluation."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from waveletgpt.app.modalities.base import load_modality
from waveletgpt.app.runs import Run, default_pair, find_runs
from waveletgpt.app.streaming import Completion
from waveletgpt.app.tabs.course import NAMES, SCALES, command, course, no_sample, pair, sample_line, state_line
from waveletgpt.app.web.components import private
from waveletgpt.app.web.display import Changes, shown_if
from waveletgpt.app.web.markup import no_runs, note
from waveletgpt.app.web.session import CARDS
from waveletgpt.app.web.transport import Sound, card_view, read_sound, transport, transport_value
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES
from waveletgpt.models.checkpoint import read_info
from waveletgpt.models.generation import first_divergence
from waveletgpt.tokenizers.registry import Tokenizer, tokenizer_from_dict

EVERY = 3.0
"""Seconds between two looks at the runs."""
LABEL = "Training"
ABOUT = """<div class="lead"><h2>Training, watched</h2><p>Choose two runs: their losses are drawn while they train, with
who is ahead and by how much.</p></div>"""
MACHINE = """<div class="lead"><h2>The time machine</h2><p>What both models wrote at each evaluation, without a prompt
and always with the same random numbers. So all that changes is what they have learned.</p></div>"""
AGAIN = """<div class="lead"><h2>Train them again</h2><p>Each run holds its command, ready for a terminal.</p></div>"""

Sample = tuple[str, str, str]
"""What a card shows: its kind of data, its name, and its file."""
Part = tuple[Any, Callable[[], Changes]]
"""A key of what a part of the tab shows, and what makes it."""


class Watching:
    """The tab and its handlers. What was shown last is known by keys, so that only what is new is made and sent.

    Raises InputError if the directory does not exist.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        newest = next((run.modality for run in find_runs(directory) if run.modality), next(iter(MODALITIES)))
        self.seen, self.chosen = gr.State({}), gr.State([])
        with gr.Column(elem_id="training"):
            gr.HTML(ABOUT)
            kinds = [(name.capitalize(), name) for name in MODALITIES]
            self.kind = gr.Radio(kinds, value=newest, label="Kind of data", elem_id="training-kind")
            with gr.Row():
                self.runs = [
                    gr.Dropdown(
                        [], label=f"Run {name}", filterable=False, elem_id=f"training-run-{card}", min_width=240
                    )
                    for name, card in zip(NAMES, CARDS, strict=True)
                ]
            self.axis = gr.Radio(
                [("Steps", "step"), ("Tokens", "tokens"), ("Seconds", "seconds")],
                value="step",
                label="Losses over",
                elem_id="training-over",
            )
            self.course = gr.HTML()
            self.states = gr.HTML()
            gr.HTML(MACHINE)
            self.slider = gr.Slider(1, 2, 1, step=1, label="Evaluation", visible="hidden", elem_id="training-at")
            self.views = gr.HTML()
            self.transport = transport("training")
            gr.HTML(AGAIN)
            self.commands = gr.HTML()
        self.timer = gr.Timer(EVERY, active=False)

    def connect(self, tabs: gr.Tabs, item: gr.Tab) -> None:
        """Look at the runs when the tab is opened, again and again while it is open, and when something is chosen."""
        quiet = private(gr.State())
        at_once: dict[str, Any] = {"queue": False, "preprocess": False, "trigger_mode": "always_last", **quiet}
        inputs = [self.seen, self.kind, *self.runs, self.axis, self.slider]
        outputs = [self.seen, *self.runs, self.slider, self.chosen, self.course, self.states, self.commands, self.views]
        tabs.select(selected, None, self.timer, queue=False, **quiet)
        choices = (self.kind.input, *(run.input for run in self.runs), self.axis.input, self.slider.input)
        for event in (item.select, self.timer.tick, *choices):
            event(self.show, inputs, outputs, **at_once)
        self.views.change(sounds, self.chosen, self.transport, trigger_mode="always_last", **quiet)

    def show(  # noqa: PLR0917
        self, seen: dict[str, Any], kind: Any, a: Any, b: Any, axis: Any, at: Any
    ) -> Changes:
        """What is new of the runs as they are now, and of what was chosen.

        Args:
            seen: keys of what was shown last.
            kind: kind of data.
            a: name of run A.
            b: name of run B.
            axis: what the losses are drawn over.
            at: the slider, 1 for the first of the evaluations that were shown last.
        """
        try:
            found = find_runs(self.directory)
        except InputError as error:
            return {self.course: note(f"{error}", wrong=True)}
        mine = {run.name: run for run in found if run.modality == kind}
        first = default_pair([*mine.values()])
        runs = [run for name, other in zip((a, b), first, strict=True) if (run := mine.get(f"{name}", other))]
        problems = "".join(note(run.problem, wrong=True) for run in found if not run.modality)
        names = [run.name for run in runs]
        parts: dict[str, Part] = {
            "runs": ([*mine], lambda: self._choices([*mine], names)),
            **self._course(kind, runs, axis if axis in SCALES else "step", problems),
            **self._samples(kind, runs, seen, at),
        }
        new = {name: key for name, (key, _) in parts.items() if name not in seen or seen[name] != key}
        changes: Changes = {self.seen: {**seen, **new}} if new else {self.seen: gr.skip()}
        for name in new:
            changes |= parts[name][1]()
        return changes

    def _choices(self, names: Sequence[str], chosen: Sequence[str]) -> Changes:
        values: list[str | None] = [*chosen] if chosen else [None] * len(CARDS)
        return {run: gr.update(choices=names, value=value) for run, value in zip(self.runs, values, strict=True)}

    def _course(self, kind: str, runs: Sequence[Run], axis: str, problems: str) -> dict[str, Part]:
        """The chart with what it says, the `problems` of other runs, and the state and the command of each run."""
        now = time.time()
        states = pair(state_line(name, run, now) for name, run in zip(NAMES, runs, strict=bool(runs)))
        commands = pair(command(name, run) for name, run in zip(NAMES, runs, strict=bool(runs)))
        drawn = (kind, axis, problems, [(run.path, run.stamp) for run in runs])

        def draw() -> Changes:
            chart = course(runs[0], runs[1], axis) if runs else no_runs(kind, str(self.directory))
            return {self.course: chart + problems}

        return {
            "course": (drawn, draw),
            "states": (states, lambda: {self.states: states}),
            "commands": (commands, lambda: {self.commands: commands}),
        }

    def _samples(self, kind: str, runs: Sequence[Run], seen: dict[str, Any], at: Any) -> dict[str, Part]:
        """The slider, and the sample of each run at its evaluation."""
        written = [run.samples() for run in runs]
        steps, names = sorted({step for one in written for step in one}), [run.name for run in runs]
        before, earlier = seen.get("steps", ((), []))
        newest = earlier != names or not isinstance(at, int | float) or not 1 <= at < len(before)
        wanted = steps[-1:] if newest else [before[int(at) - 1]]
        step = min(steps, key=lambda one: abs(one - wanted[0])) if steps else 0
        place = steps.index(step) + 1 if steps else 1
        samples: list[Sample] = []
        lines = []
        for name, run, files in zip(NAMES, runs, written, strict=bool(runs)):
            its = max((one for one in files if one <= step), default=0)
            samples.append((kind, f"{name}: {run.name}, step {its:,}", f"{files[its]}" if its else ""))
            lines.append(sample_line(name, run, its, step) if its else no_sample(name, run, min(files, default=0)))
        slider = gr.update(maximum=max(2, len(steps)), value=place, visible=shown_if(len(steps) > 1))
        return {
            "steps": ((steps, names), lambda: {self.slider: slider}),
            "samples": ((samples, lines), lambda: self._views(samples, lines)),
        }

    def _views(self, samples: list[Sample], lines: Sequence[str]) -> Changes:
        shown = zip(CARDS, lines, views(samples), strict=False)
        return {self.chosen: samples, self.views: pair(card_view(card, line + view) for card, line, view in shown)}


def selected(tab: gr.SelectData) -> gr.Timer:
    """Look at the runs only while their tab is open."""
    return gr.Timer(active=tab.value == LABEL)


def views(samples: Sequence[Sample]) -> list[str]:
    """The samples beside each other: their figures share their axes, and texts are underlined as far as they agree."""
    read = [_read(sample) for sample in samples]
    there = [one for one in read if not isinstance(one, str)]
    if not there:
        return [note(one, wrong=True) if one else "" for one in read if isinstance(one, str)]
    modality = load_modality(samples[0][0])
    axes = modality.axes(*zip(*there, strict=True))
    agreed = (first_divergence(there[0][0].ids, there[1][0].ids) or 0) if len(there) > 1 else 0
    return [
        note(one, wrong=True) if isinstance(one, str) else modality.view(*one, shared=agreed, axes=axes) for one in read
    ]


def sounds(samples: Sequence[Sample]) -> Iterator[Any]:
    """The player's value for samples that can be heard. A sound that plays goes on in the sample of another step."""
    with tempfile.TemporaryDirectory() as folder:  # gradio copies the files before it asks for more
        found: list[Sound | None] = []
        for card, sample in zip(CARDS, samples, strict=bool(samples)):
            read, modality = _read(sample), load_modality(sample[0])
            if isinstance(read, str) or not modality.is_heard:
                found.append(None)
                continue
            path = Path(folder) / f"{card}.wav"
            modality.write(*read, path)
            found.append(read_sound(sample[1], path))
        runs = " ".join(f"{Path(file).parent}" for _, _, file in samples)
        yield transport_value([*found, None, None][: len(CARDS)], runs)


def _read(sample: Sample) -> tuple[Completion, Tokenizer] | str:
    """A sample and its tokenizer, or why it cannot be read; empty if there is none."""
    kind, _, file = sample
    if not file:
        return ""
    try:
        run = Path(file).parent.parent
        tokenizer = _tokenizer(run, (run / "run.json").stat().st_mtime_ns)
        return load_modality(kind).read_sample(Path(file), tokenizer), tokenizer
    except (InputError, OSError) as error:
        return f"{error}"


@lru_cache(maxsize=16)
def _tokenizer(run: Path, _written: int) -> Tokenizer:
    return tokenizer_from_dict(read_info(run / "last").tokenizer)
