"""Runs cases of one kind in this process: `python child.py KIND SEED FIRST COUNT FOLDER`.

For each case it prints `begin N` and then `read N`, `refused N`, or `broken N` with what is wrong as JSON. If it dies
or hangs, the last line names the case.
"""

import contextlib
import json
import resource
import sys
import traceback
from importlib import import_module
from pathlib import Path
from random import Random

MEMORY = 4 << 30
"""Bytes that a case may add to the address space of the process."""


def generator(kind: str, seed: int, case: int) -> Random:
    """The random numbers of a case. They depend on nothing else."""
    return Random(f"{kind} {seed} {case}")


def limit_memory() -> None:
    """Let the process grow by `MEMORY` at most."""
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(kind: str, seed: int, first: int, count: int, folder: Path) -> None:
    """Run the cases from `first` on."""
    cases = import_module(kind).Kind(folder)
    with contextlib.suppress(FileNotFoundError):  # a system without /proc
        limit_memory()
    for case in range(first, first + count):
        print("begin", case, flush=True)
        try:
            print(cases.run(generator(kind, seed, case)), case, flush=True)
        except Exception as error:  # whatever an input brings about
            what = f"{type(error).__name__}: {error}", traceback.format_exc()
            print("broken", case, json.dumps(what), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]), Path(sys.argv[5]))
