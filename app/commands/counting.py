"""`waveletgpt votes`: what the votes of the blind test say about each pair of checkpoints."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from waveletgpt.app.checkpoints import SHIPPED, CheckpointEntry, find_checkpoints
from waveletgpt.app.commands.options import Votes
from waveletgpt.app.votes import Vote, default_path, read_votes, tally
from waveletgpt.common.errors import InputError
from waveletgpt.common.modalities import MODALITIES
from waveletgpt.common.units import in_unit


def run(options: Votes) -> None:
    """Run the command. Raises InputError if the file cannot be read."""
    if options.file and not options.file.exists():
        raise InputError(f"{options.file} does not exist; give a file of votes")
    path = options.file or default_path()
    votes = read_votes(path)
    console = Console(highlight=False, soft_wrap=True)
    if not votes:
        console.print(f"There are no votes in {path} yet: vote on the page, in the tab Which?", markup=False)
        return
    entries = {one.digest: one for one in find_checkpoints(options.checkpoints or SHIPPED)}
    console.print(table(votes, entries))
    console.print("Equal: votes for no difference.", markup=False)
    console.print("Prefer B: of the votes with a preference, with its 95 % interval; chance is 50 %.", markup=False)
    console.print(f"Loss: validation loss of B minus that of A. The votes are in {path}.", markup=False)


def table(votes: list[Vote], entries: dict[str, CheckpointEntry]) -> Table:
    """A row for each pair of checkpoints. `entries` are those whose losses are known, by digest."""
    found = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in ("kind", "A, B"):
        found.add_column(head)
    for head in ("votes", "equal", "prefer B", "interval", "loss"):
        found.add_column(head, justify="right")
    for pair in {frozenset(vote.digests): vote for vote in votes}.values():
        count = tally(votes, *pair.digests)
        low, high = count.interval
        found.add_row(
            Text(pair.modality),
            Text(f"{pair.checkpoint_a}\n{pair.checkpoint_b}"),
            f"{count.decided + count.undecided:,}",
            f"{count.undecided:,}",
            f"{count.for_b / count.decided:.0%}" if count.decided else "-",
            f"{100 * low:.0f} to {100 * high:.0f} %",
            difference(pair, entries),
        )
    return found


def difference(pair: Vote, entries: dict[str, CheckpointEntry]) -> str:
    """Validation loss of B minus that of A, in two lines with its unit; "not known" if it is not."""
    losses = [entries[digest].info.losses.get("val") if digest in entries else None for digest in pair.digests]
    if pair.modality not in MODALITIES or None in losses:
        return "not known"
    unit = MODALITIES[pair.modality].loss_unit
    a, b = (in_unit(one, unit) for one in losses if one is not None)
    return f"{b - a:+.3f}\n{unit}"
