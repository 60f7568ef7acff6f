"""What obs has, in a few words: offered where a query, a column or its name selects nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from c2sflow.common.errors import likeliest, some

MOST_SHOWN = 10
MOST_COUNTED = 10_000  # different values of a column: a column of barcodes takes no more memory
LONGEST = 40  # characters of a value


@dataclass
class HeldValues:
    """Values of columns of obs, counted sample by sample.

    Attributes
    ----------
    texts
        Column to its values other than numbers, and how many cells have each.
    ranges
        Column to the least and the greatest of its numbers.
    missing
        Column to the number of cells without a value.
    """

    texts: dict[str, Counter[str]] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    missing: Counter[str] = field(default_factory=Counter)

    def add(self, obs: pd.DataFrame) -> None:
        """Count the values of these columns of one sample."""
        for name, column in obs.items():
            known = column.dropna()
            name = str(name)
            self.missing[name] += len(obs) - len(known)
            if pd.api.types.is_numeric_dtype(known) and not pd.api.types.is_bool_dtype(known):
                self._add_numbers(name, known)
            else:
                counts = self.texts.setdefault(name, Counter())
                for value, n in known.value_counts().items():
                    if n:  # a category may have no cell
                        counts[str(value)] += int(n)
                if len(counts) > MOST_COUNTED:
                    self.texts[name] = Counter(dict(counts.most_common(MOST_COUNTED)))

    def _add_numbers(self, name: str, known: pd.Series) -> None:
        values = known.to_numpy(dtype=float)
        values = values[~np.isnan(values)]
        if values.size:
            low, high = self.ranges.get(name, (np.inf, -np.inf))
            self.ranges[name] = min(low, values.min()), max(high, values.max())

    def offer(self, *names: str | None) -> str:
        """The end of a message: "; obs['condition'] holds: ctrl (150), stim (150)".

        Parameters
        ----------
        names
            Columns, as far as they were counted; none: all that were.
        """
        wanted = [name for name in names if name in self.missing] if names else list(self.missing)
        return "".join(f"; obs[{name!r}] holds{self._of(name)}" for name in wanted if name)

    def _of(self, name: str) -> str:
        parts = []
        if name in self.ranges:
            low, high = map(_number, self.ranges[name])
            parts.append(f"numbers from {low} to {high}")
        counts = self.texts.get(name, Counter())
        # Of values that are as frequent, the first by name: no order of the cells decides.
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        parts += [f"{_short(value)} ({n:,})" for value, n in ranked[:MOST_SHOWN]]
        rest = len(ranked) - MOST_SHOWN
        if not parts:
            return " no value"
        if missing := self.missing[name]:
            parts.append(f"no value ({missing:,})")
        return f": {', '.join(parts)}" + (f" and {rest:,} more" if rest > 0 else "")


def offer_values(obs: pd.DataFrame) -> str:
    """The end of a message about cells of which nothing is selected: see `HeldValues.offer`.

    Parameters
    ----------
    obs
        The columns that the selection is made by, of the cells that it is made of.
    """
    held = HeldValues()
    held.add(obs.loc[:, ~obs.columns.duplicated()])
    return held.offer()


def offer_columns(obs: pd.DataFrame, *names: str) -> str:
    """The end of a message about columns that obs lacks: some that it has, and the likeliest."""
    columns = [str(name) for name in obs.columns]
    close = [match for name in names for match in likeliest(name, columns)]
    meant = f"; did you mean {', '.join(map(repr, close))}?" if close else ""
    return f"(has {some(columns, MOST_SHOWN) or 'none'}){meant}"


def _number(value: float) -> str:
    whole = value == np.floor(value) or abs(value) >= 10_000
    return f"{value:,.0f}" if whole else f"{value:.4g}"


def _short(value: str) -> str:
    text = " ".join(value.split()) or repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
