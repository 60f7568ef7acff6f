"""scFID and energy distance of predicted and measured cells, beside baselines, for many splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from c2sflow.conditions import Condition
from c2sflow.distances import MAX_CELLS, EnergyDistance, scfid_bias, scfid_of_rows
from c2sflow.halves import Rows
from c2sflow.resampling import Figure
from c2sflow.row_figures import Key, summarise


def distance_figures(subject: str, condition: Condition, seed: int) -> Iterator[Figure]:
    """Figures in each space; of at most 500 answers, measured and control cells."""
    condition = condition.head(MAX_CELLS)
    halves = condition.halves(seed)
    for space in condition.measured.spaces:
        found = _Distances(condition, space, seed)
        for key, summary in summarise(halves, found).items():
            n, n_measured = condition.n_cells(key[2]), len(condition.measured)
            if key[0] == "scfid":
                n = n_measured = found.n_compared
            yield summary.figure(key, subject, n, n_reference=n_measured)
        splits = halves.observed().measured[:, len(condition.control) :]
        for size, value in scfid_bias(condition.measured.spaces[space], splits, seed).items():
            yield Figure(f"scfid_bias_{size}", subject, "measured_half", value, size, space,
                         n_reference=size)  # fmt: skip


class _Distances:
    """Where every predictor puts its cells in one space, and how far that is from the measured."""

    def __init__(self, condition: Condition, space: str, seed: int):
        control = condition.control.spaces[space]
        cells = np.concatenate([control, condition.measured.spaces[space]]).astype(np.float64)
        answers, others = (one.spaces[space] for one in (condition.answers, condition.others))
        self._made = {"model": answers, "no_change": cells, "another_control": others}
        for name, one in condition.baselines.items():
            start = control.mean(axis=0) if one.control is None else one.control.spaces[space]
            self._made[name] = cells + (one.measured.spaces[space] - start)
        self._made["measured_half"] = self._cells = cells
        origins = {"model": condition.source, "another_control": condition.pairs[:, 1]}
        self._energy = {
            name: EnergyDistance(made, cells, origins.get(name))
            for name, made in self._made.items()
            if len(made)
        }
        self._space, self._seed = space, seed
        self.n_compared = 0

    def __call__(self, rows: Rows, _: np.ndarray | None) -> Mapping[Key, np.ndarray]:
        own = {"model": rows.answers, "another_control": rows.others, "measured_half": rows.half}
        times = {name: own.get(name, rows.baseline) for name in self._energy}
        found: dict[Key, np.ndarray] = {
            ("energy_distance", self._space, name): energy.rows(times[name], rows.measured)
            for name, energy in self._energy.items()
        }
        groups = {name: (self._made[name], times[name]) for name in self._energy}
        values, size = scfid_of_rows(groups, self._cells, rows.measured, self._seed)
        self.n_compared = self.n_compared or size  # of the cells as they are, which come first
        return found | {("scfid", self._space, name): one for name, one in values.items()}
