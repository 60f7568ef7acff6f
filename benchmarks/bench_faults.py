"""What each kind of fault costs a run of many shards: tests/pipeline/disturbing.py."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from measure import ROOT, save

sys.path.insert(0, str(ROOT / "tests/pipeline"))
from disturbing import Disturbed


def main() -> None:
    """Disturb one run, print the table, and compare the result with that of no fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=500)
    parser.add_argument("--cold", action="store_true", help="each task imports torch on its own")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", default="faults", help="of the file of results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = Disturbed(
            folder, folder / "home", options.shards,
            warm=not options.cold, at_once=2 if options.cold else 4, seed=options.seed,
        )  # fmt: skip
        load = os.getloadavg()[0]
        with run.prepared():
            run.everything()
            same = (run.out / "c2s.h5ad").read_bytes() == run.by_hand().read_bytes()
            figures = {"shards": options.shards, "cold": options.cold, "seed": options.seed}
            figures |= run.figures() | {"same_bytes": same, "load": [load, os.getloadavg()[0]]}
            save(options.name, figures)
            print("\n".join(run.table()))
    sys.exit(0 if same else "the result differs from that of no fault")


main()
