"""Does `import mlinstruments` add less than half a second to `import sklearn, pandas`?"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

LIMIT = 0.5
TIMED = "import time; t = time.process_time(); {}; print(time.process_time() - t)"


def seconds(statement: str) -> float:
    """CPU seconds of a statement in a fresh process: steadier than wall time on a busy machine."""
    command = [sys.executable, "-c", TIMED.format(statement)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(quick: bool = False) -> float:
    """Medians of 7 alternating runs, or one run."""
    base, ours = [], []
    for _ in range(1 if quick else 7):
        base.append(seconds("import sklearn, pandas"))
        ours.append(seconds("import sklearn, pandas, mlinstruments"))
    extra = statistics.median(ours) - statistics.median(base)
    print(f"sklearn, pandas {statistics.median(base):.3f} s; mlinstruments adds {extra:.3f} s")
    if extra >= LIMIT:
        print(f"above the limit of {LIMIT} s")
    return extra


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one run instead of 7")
    main(parser.parse_args().quick)
