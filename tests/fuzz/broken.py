"""Cases that break every promise, for the tests of the runner itself."""

import os
import time
from pathlib import Path
from random import Random

from promises import check_refusal


class Kind:
    """Case 1 says two lines, 2 shows a folder, 3 ends the process, 4 takes all memory, 5 hangs; others are read."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.case = folder, 0

    def run(self, random: Random) -> str:
        """What the first number of the case asks for."""
        match int(os.environ["BROKEN"]):
            case 1:
                check_refusal("two\nlines", str(self.folder))
            case 2:
                check_refusal(f"{self.folder} is full", str(self.folder))
            case 3:
                os.abort()
            case 4:
                bytearray(1 << 40)
            case 5:
                time.sleep(600)
        return f"read{random.randrange(10**9)}"
