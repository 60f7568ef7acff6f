"""Splits in the form of STATE: ``splits.toml``, as cell-load reads it.

``[datasets]`` names each data set and its files, ``[training]`` those whose cells are trained on
unless another table lists them, ``[zeroshot]`` the part of a whole context ("dataset.context"),
``[fewshot]`` the perturbations of a context that are for val and test. A table ``[c2sflow]``, which
cell-load passes over, holds what the form has no word for: how control cells are split.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from c2sflow.common.errors import Faults, UserError, some
from c2sflow.data.splits.groups import TEST, TRAIN, UNUSED, VALIDATION, clean_label

WORDS = {"train": TRAIN, "val": VALIDATION, "test": TEST}
NAMES = {split: word for word, split in WORDS.items()}
TABLES = ("datasets", "training", "zeroshot", "fewshot", "c2sflow")
OWN = {"context_column": str, "seed": int, "held_out": float, "validation": float}  # of [c2sflow]


@dataclass(frozen=True)
class StateForm:
    """The tables.

    Attributes
    ----------
    datasets
        Name of each data set to where its files are.
    training
        Data sets whose contexts are for training if nothing else is listed.
    zeroshot
        Data set to context to the split of all of its cells.
    fewshot
        Data set to context to perturbation to its split, of those that are not for training.
    own
        ``[c2sflow]``: `OWN`.
    """

    datasets: Mapping[str, str]
    training: Sequence[str] = ()
    zeroshot: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fewshot: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stops(self) -> bool:
        """Whether it lists cells for validation; else they are drawn."""
        whole = {split for contexts in self.zeroshot.values() for split in contexts.values()}
        return VALIDATION in whole or any(VALIDATION in set(s.values()) for *_, s in self.listed())

    def listed(self) -> Iterator[tuple[str, str, Mapping[str, str]]]:
        """Data set, context, and its perturbations that are not for training, of each few-shot."""
        for dataset, contexts in self.fewshot.items():
            for context, splits in contexts.items():
                yield dataset, context, splits

    def dataset_of(self, sample: str) -> str:
        """The data set that a sample is of: the only one, or that of its name.

        Raises
        ------
        UserError
            If there are several, and none has the name.
        """
        if len(self.datasets) == 1:
            return next(iter(self.datasets))
        if sample not in self.datasets:
            raise UserError(
                f"--splits: sample {sample} is none of the data sets {some([*self.datasets])}; "
                "name the samples of the samplesheet as [datasets] does"
            )
        return sample

    def apply(
        self,
        samples: pd.Series,
        contexts: pd.Series,
        labels: pd.Series,
        controls: np.ndarray,
        drawn: np.ndarray,
    ) -> np.ndarray:
        """Split of each cell.

        Parameters
        ----------
        samples, contexts, labels
            Text of each cell; contexts and labels None where there is none.
        controls
            bool (n_cells,): control cells. Of a few-shot context they are split as `drawn`.
        drawn
            Split of each cell by chance; its validation cells are taken of the training cells of
            a file that names none.

        Returns
        -------
        object (n_cells,)
        """
        splits = np.full(len(samples), UNUSED, dtype=object)
        places = pd.DataFrame({"sample": samples.to_numpy(), "context": contexts.to_numpy()})
        for (sample, context), rows in places.groupby(["sample", "context"]).indices.items():
            dataset = self.dataset_of(str(sample))
            if context in self.zeroshot.get(dataset, {}):
                splits[rows] = self.zeroshot[dataset][context]
            elif context in self.fewshot.get(dataset, {}):
                own = labels.iloc[rows].map(lambda name: name and clean_label(name))
                known = self.fewshot[dataset][context]
                splits[rows] = own.map(lambda name, known=known: known.get(name, TRAIN))
                splits[rows[own.isna().to_numpy()]] = UNUSED
                of_control = rows[controls[rows]]
                splits[of_control] = drawn[of_control]
            elif dataset in self.training:
                splits[rows] = TRAIN
        if not self.stops:
            splits[(splits == TRAIN) & (drawn == VALIDATION)] = VALIDATION
        return splits

    def text(self, head: Sequence[str] = ()) -> str:
        """The file; `head` are lines of comment above it."""
        lines = [f"# {line}" for line in head]
        lines += ["", "[datasets]", *(f"{_word(k)} = {_word(v)}" for k, v in self.datasets.items())]
        lines += ["", "[training]", *(f'{_word(name)} = "train"' for name in self.training)]
        lines += ["", "[zeroshot]"]
        for dataset, contexts in self.zeroshot.items():
            for context, split in contexts.items():
                lines.append(f"{_word(f'{dataset}.{context}')} = {_word(NAMES[split])}")
        lines += ["", "[fewshot]"]
        for dataset, context, splits in self.listed():
            lines += ["", f"[fewshot.{_word(f'{dataset}.{context}')}]"]
            for word in ("val", "test"):
                names = [_word(name) for name, split in splits.items() if split == WORDS[word]]
                lines.append(f"{word} = [{', '.join(names)}]")
        if self.own:
            lines += ["", "[c2sflow]", *(f"{k} = {json.dumps(v)}" for k, v in self.own.items())]
        return "\n".join(lines).lstrip("\n") + "\n"


def _word(text: str) -> str:
    """A basic string of TOML: JSON's, but for the one control character that JSON leaves."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_state_form(path: Path) -> StateForm:
    """Read ``splits.toml``.

    A perturbation that a context lists for both val and test is for test: so it never stops a
    training that it judges.

    Raises
    ------
    UserError
        With all that is wrong with it.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"--splits {path.name}: no TOML file: {error}") from None
    faults = Faults()
    if strange := sorted(set(tables) - {*TABLES}):
        faults.append(f"no table [{strange[0]}] is known; there are {', '.join(TABLES)}")
    for name in TABLES:
        if not isinstance(tables.setdefault(name, {}), dict):
            faults.append(f"{name} must be a table: [{name}]")
            tables[name] = {}
    datasets = {name: str(place) for name, place in tables["datasets"].items()}
    training = [name for name, word in tables["training"].items() if word == "train"]
    faults += [f"[training] {n}: must be 'train'" for n in {*tables["training"]} - {*training}]
    zeroshot: dict[str, dict[str, str]] = {}
    fewshot: dict[str, dict[str, dict[str, str]]] = {}
    for key, word in tables["zeroshot"].items():
        if not isinstance(word, str) or word not in WORDS:
            faults.append(f"[zeroshot] {key}: must be one of {', '.join(WORDS)}{_quoted(word)}")
        else:
            dataset, context = _place(key, "zeroshot", faults)
            zeroshot.setdefault(dataset, {})[context] = WORDS[word]
    for key, lists in tables["fewshot"].items():
        dataset, context = _place(key, "fewshot", faults)
        fewshot.setdefault(dataset, {})[context] = _few(key, lists, faults)
        if context in zeroshot.get(dataset, {}):
            faults.append(f"[zeroshot] and [fewshot] both list {key}: leave one of them out")
    named = {*training, *zeroshot, *fewshot} - {""}
    if missing := sorted(named - set(datasets)):
        faults.append(f"[datasets] does not name {some(missing)}")
    if not datasets and not missing:
        faults.append("[datasets] is empty: name the data set, and where it is")
    own = {name: value for name, value in tables["c2sflow"].items() if name in OWN}
    faults += [
        f"[c2sflow] {name}: no value of that kind"
        for name, value in own.items()
        if not isinstance(value, (OWN[name], int) if OWN[name] is float else OWN[name])
    ]
    if faults:
        raise UserError(f"--splits {path.name}: {'; '.join(faults)}")
    return StateForm(datasets, training, zeroshot, fewshot, own)


def _quoted(value: object) -> str:
    """What to do with a table that dots in a key have made."""
    return '; write the key in quotes: "dataset.context"' if isinstance(value, dict) else ""


def _place(key: str, table: str, faults: Faults) -> tuple[str, str]:
    """Data set and context of a key: the first dot parts them."""
    dataset, dot, context = key.partition(".")
    if not (dataset and dot and context):
        faults.append(f'[{table}] {key}: must be "dataset.context", in quotes')
        return "", ""
    return dataset, context


def _few(key: str, lists: object, faults: Faults) -> dict[str, str]:
    """Split of each perturbation that a few-shot context lists."""
    found: dict[str, str] = {}
    if not isinstance(lists, dict) or not {*lists} <= {"val", "test"}:
        faults.append(f"[fewshot] {key}: must hold the lists val and test{_quoted(lists)}")
        return found
    for word in ("val", "test"):  # what both name is for test
        names = lists.get(word, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            faults.append(f"[fewshot] {key}: {word} must be a list of texts")
            continue
        found |= dict.fromkeys(map(clean_label, names), WORDS[word])
    return found
