#!/usr/bin/env python3
"""How often the state of the values is found, refused or mistaken, over random files.

Half of the files are pure, the others mixtures of two or three kinds: see `tests/unit/mixing.py`.
Prints the counts and writes them to benchmarks/results/state_mixtures.json. Exits with 1 if any
answer was a silent mistake.
"""

import sys
from collections import Counter

import click
import pandas as pd
from measure import ROOT, save

sys.path.append(str(ROOT / "tests" / "unit"))


@click.command(help=__doc__)
@click.option("--first", default=0, help="First seed.")
@click.option("--number", default=2000, help="Of files.")
@click.option("--verbose", is_flag=True, help="Print each refusal of a pure file, too.")
def main(first, number, verbose):
    """Count outcomes by kind."""
    from mixing import draw_file

    from c2sflow.common.errors import UserError
    from c2sflow.data.state.decision import decide_state
    from c2sflow.data.state.evidence import cell_evidence

    outcomes = Counter()
    for seed in range(first, first + number):
        file = draw_file(seed)
        kind = file.kinds[0] if file.is_pure else "mixture"
        try:
            state = decide_state(cell_evidence(file.rows), file.obs, str(seed)).state
            outcome = "mistaken" if file.is_wrong(state) else "recognised"
        except UserError as error:
            state, outcome = error, "refused"
        outcomes[kind, outcome] += 1
        if outcome == "mistaken" or (verbose and kind != "mixture" and outcome == "refused"):
            print(f"{outcome} {seed}: {', '.join(file.kinds)}; {file.about}: {state}")
    table = pd.Series(outcomes).unstack(fill_value=0)
    table.loc["all"] = table.sum()
    print(table.to_string())
    counts = table.to_dict(orient="index")
    save("state_mixtures", {"first_seed": first, "files": number, "outcomes": counts})
    sys.exit(int(any(outcome == "mistaken" for _, outcome in outcomes)))


if __name__ == "__main__":
    main()
