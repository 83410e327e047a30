"""Opening lines of novels that were never written, in the tone of the 19th century."""

from dataclasses import dataclass

from waveletgpt.app.prompts.example import Example


@dataclass(frozen=True)
class Opening(Example):
    """The first lines of a text."""

    text: str


OPENINGS = (
    Opening(
        "old-house",
        "The house on the hill",
        "There had been Harwoods at the house on the hill for two hundred years, and in all that time not one of them "
        "had",
    ),
    Opening(
        "at-the-door",
        "A question at the door",
        '"You are late, Mr. Fenwick," said the old lady, without looking up from her needle. "I trust that you have '
        "brought",
    ),
    Opening(
        "letter",
        "A letter from the coast",
        "My dear Margaret,\nYour letter reached me only this morning, and I hasten to tell you, before the post goes "
        "out, that",
    ),
    Opening(
        "storm",
        "Rain before nightfall",
        "All day the rain had driven in from the sea; and towards evening, when the lamps were lit along the harbour, "
        "the wind",
    ),
    Opening(
        "stranger",
        "A stranger at the inn",
        "It was past ten o'clock when the coach set down a single passenger, a tall man in a grey cloak, who asked the "
        "landlord",
    ),
    Opening(
        "quarrel",
        "A quarrel over a will",
        '"Not a shilling!" cried the Squire, and he struck the table with his fist. "Not one shilling shall he have, '
        "while I",
    ),
)
