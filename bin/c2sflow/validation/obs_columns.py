"""What a run does with the cells' annotation, checked against every sample before it starts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil

import numpy as np
import pandas as pd

from c2sflow.common.errors import Faults, some
from c2sflow.data.obs.figure_cells import known_labels
from c2sflow.data.obs.held_values import HeldValues, offer_columns
from c2sflow.data.obs.labels import is_labelled, is_perturbed
from c2sflow.data.obs.queries import CheckedQueries, obsm_keys, query_columns
from c2sflow.inputs.gene_sets import MIN_GENES, describe_sets, found_genes
from c2sflow.inputs.labels import GROUP, Label
from c2sflow.inputs.lists import allowed_words
from c2sflow.inputs.perturbations import Treatment, prompt_text
from c2sflow.sentences.groups.drawing import NEIGHBOURS, SAMPLE
from c2sflow.sentences.groups.prompts import NUM_CELLS
from c2sflow.sentences.no_ops import AUTO, NONE, PREFIX, NoOps, is_conversion
from c2sflow.sentences.prompts import UNKNOWN, check_fields, template_fields
from c2sflow.sentences.ranking import gene_words
from c2sflow.validation.groups import GroupedCells

# Columns that QC adds to obs: a prompt may use them although the input does not have them.
QC_COLUMNS = ("sample", "organism", "n_genes_by_counts", "total_counts", "pct_counts_mt")
MAX_CONTEXTS = 100
# Of training: of the task generation where GENERATE asks for several cells at once, and of
# tissue_generation.
ONE_CELL_PROMPT, CELLS_PROMPT = "generation_prompt (one cell)", "generation_prompt (several cells)"
COLUMN_OPTIONS = (
    "label_column", "perturbation_column", "context", "replicate_column", "measured_column",
    "batch_column", "group_by", "context_column", "tissue_column",
)  # fmt: skip


@dataclass
class Targets:
    """Columns, queries, perturbations and gene sets of a run, and what the samples hold of them.

    `wanted`: whether the run predicts perturbations. `unknown`: columns and queries (None: the
    control's) that a sample cannot answer.
    """

    wanted: bool = False
    label_column: str | None = None
    perturbation_column: str | None = None
    control: str | None = None
    context: str | None = None
    replicate_column: str | None = None
    no_op: str | None = None
    measured_column: str | None = None
    batch_column: str | None = None
    context_column: str | None = None
    tissue_column: str | None = None
    trained_by: str = SAMPLE  # --group_by of a training
    training_cells: str | None = None
    evaluation_key: str | None = None
    treatments: list[Treatment] = field(default_factory=list)
    gene_sets: dict[str, list[str]] = field(default_factory=dict)
    vocabulary: frozenset[str] = frozenset()
    prompts: dict[str, str] = field(default_factory=dict)
    unknown: set[str | None] = field(default_factory=set)
    chosen: Counter = field(default_factory=Counter)  # cells that each cell_query leaves
    labelled: Counter = field(default_factory=Counter)
    labelled_controls: Counter = field(default_factory=Counter)
    contexts: set = field(default_factory=set)
    replicates: set[str] = field(default_factory=set)
    measured: set[str] = field(default_factory=set)  # perturbations that are in the data, too
    # By option or row: what the cells hold that it could have selected.
    held: defaultdict[str, HeldValues] = field(default_factory=lambda: defaultdict(HeldValues))
    n_training_cells: int = 0
    n_trained_controls: int = 0  # control cells that are none to predict from
    queries: CheckedQueries = field(default_factory=CheckedQueries)
    genes: list[np.ndarray] = field(default_factory=list)
    symbols: pd.Series | None = None  # table from gene identifiers to symbols
    organisms: set[str] = field(default_factory=set)
    gaps: list[str] = field(default_factory=list)  # what prompts do not know, in words
    labels: list[Label] = field(default_factory=list)  # what the model is asked
    # By the label's name: the truth of the cells.
    label_values: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    grouping: GroupedCells | None = None

    @property
    def group_by(self) -> str | None:
        """Column of obs that cells of a group share."""
        by = self.grouping.by if self.grouping else self.trained_by
        return None if by in (SAMPLE, NEIGHBOURS) else by

    @property
    def n_controls(self) -> int:
        """Control cells of all samples."""
        return self.chosen[None]

    def look_at(self, obs: pd.DataFrame, where: str, faults: Faults) -> None:
        """Check the columns that the run needs in one sample, and count its cells."""
        for option in COLUMN_OPTIONS:
            name = getattr(self, option)
            if name is not None and name not in obs:
                faults.append(
                    f"{where}: --{option} {name}: obs has no such column {offer_columns(obs, name)}"
                )
                self.unknown.add(name)
        for name, prompt in self.prompts.items():
            if name in ("generation_prompt", ONE_CELL_PROMPT, CELLS_PROMPT):  # of no cell's obs
                continue
            known, place = [*obs.columns, *QC_COLUMNS], where
            if name == "perturbation_prompt":
                known += self.treatment_columns
            if name.startswith("labels ("):
                place = f"{where}: --{name}"
            if name in {"group_prompt", "interpretation_prompt", *self._of_groups}:
                known += [NUM_CELLS]
            with faults.collect():
                check_fields(prompt, known, place)
        if self.wanted and self.no_op not in (None, AUTO, NONE):
            with faults.collect(f"{where}: "):
                check_fields(self.no_op, [*obs.columns, *QC_COLUMNS], "--no_op")
        self._note_gaps(obs, where)
        self._look_at_labels(obs, where, faults)
        if self.grouping:
            self.grouping.look_at(obs, where, faults)
        trained = self._count_training_cells(obs, where, faults)
        controls = self._count_controls(obs, trained, where, faults)
        perturbed = controls
        if self.perturbation_column in obs:
            labels = obs[self.perturbation_column]
            labelled = is_perturbed(labels)
            self.labelled.update(labels[labelled & ~trained].astype(str))
            self.labelled_controls.update(labels[labelled & ~controls].astype(str))
            self.held["--perturbation_column"].add(obs[[self.perturbation_column]])
            if not self.treatments and self.control is None:
                perturbed = labelled.to_numpy()
        if self.context in obs:
            self.contexts |= set(obs[self.context][perturbed].dropna().unique())
        if self.measured_column in obs:
            names = {name for t in self.treatments for name in (t.condition, t.perturbation)}
            self.measured |= names & set(obs[self.measured_column].dropna().astype(str).str.strip())
            self.held["--measured_column"].add(obs[[self.measured_column]])
        if self.replicate_column in obs:
            replicates = obs[self.replicate_column][perturbed]
            self.replicates |= set(replicates[is_labelled(replicates)].astype(str).unique())

    @property
    def _of_groups(self) -> set[str]:
        """Prompts that ask about groups of cells."""
        return {f"labels ({label.name})" for label in self.labels if label.level == GROUP}

    def _look_at_labels(self, obs: pd.DataFrame, where: str, faults: Faults) -> None:
        """Check and note the columns that the labels are judged by."""
        for label in self.labels:
            name = label.measured
            if name is None:
                continue
            if name not in obs:
                faults.append(
                    f"{where}: --labels ({label.name}): measured {name}: obs has no such column "
                    f"{offer_columns(obs, name)}"
                )
                continue
            self.label_values[label.name] |= set(known_labels(obs[name])) - {None}

    def unlike_labels(self) -> list[str]:
        """Labels that can never agree with the truth, since no answer is one of its values."""
        return [
            f"--labels ({label.name}): no answer to choose from is a value of "
            f"obs[{label.measured!r}] ({some(sorted(self.label_values[label.name]))}): nothing can "
            "agree; name the answers as the column does"
            for label in self.labels
            if label.candidates and self.label_values[label.name]
            if not self.label_values[label.name].intersection(label.candidates)
        ]

    def _note_gaps(self, obs: pd.DataFrame, where: str) -> None:
        """Cells for which a prompt's field is empty."""
        fields = {name for prompt in self.prompts.values() for name in template_fields(prompt)}
        for name in sorted((fields - {"organism"}) & set(obs.columns)):
            if n := int((obs[name].isna() | (obs[name].astype(str) == "")).sum()):
                self.gaps.append(
                    f"{where}: obs[{name!r}] is empty for {n} of {len(obs)} cells: their "
                    f"prompt has {UNKNOWN!r}"
                )

    def _count_controls(
        self, obs: pd.DataFrame, trained: np.ndarray, where: str, faults: Faults
    ) -> np.ndarray:
        """Which cells are controls; and how many each cell_query leaves that are not `trained`."""
        controls = np.ones(len(obs), dtype=bool)
        for query, place in [(None, "--control"), *self._queries().items()]:
            n_faults = len(faults)
            with faults.collect(f"{where}: "):
                own = self.control if query is None else query
                chosen = self.queries.select(obs, own, place, where)
                if query is None:
                    controls = chosen
                    self.n_trained_controls += int((controls & trained).sum())
                self.chosen[query] += int((controls & chosen & ~trained).sum())
                if own is not None:
                    among = controls & ~trained if query is not None else np.full(len(obs), True)
                    self._hold(place, own, obs, among, chosen)
            if len(faults) > n_faults:
                self.unknown.add(query)
        return controls

    def _count_training_cells(self, obs: pd.DataFrame, where: str, faults: Faults) -> np.ndarray:
        """Which cells are no source of a prediction, for the model was trained on them."""
        chosen = np.zeros(len(obs), dtype=bool)
        if self.training_cells is not None:
            n_faults = len(faults)
            with faults.collect(f"{where}: "):
                option = "--training_cells"
                chosen = self.queries.select(obs, self.training_cells, option, where)
                self.n_training_cells += int(chosen.sum())
                self._hold(option, self.training_cells, obs, np.full(len(obs), True), chosen)
            if len(faults) > n_faults:
                self.n_training_cells += 1  # one fault is enough
        return chosen & self.wanted

    def _hold(
        self, place: str, query: str, obs: pd.DataFrame, among: np.ndarray, chosen: np.ndarray
    ) -> None:
        """Note what the columns of a query hold among some cells, if it selects none of them."""
        if not (among & chosen).any():
            self.held[place].add(obs.loc[among, query_columns(query, place)])

    def look_at_obsm(self, names: Iterable[str], where: str, faults: Faults) -> None:
        """Whether a sample has the embeddings to compare with."""
        names = list(names)
        for key in obsm_keys(self.evaluation_key):
            if key not in names:
                faults.append(
                    f"{where}: --evaluation_key {key}: obsm has no such array (has "
                    f"{', '.join(map(str, names)) or 'none'})"
                )

    def _queries(self) -> dict[str, str]:
        """Each cell_query, and how messages call it: by its first row."""
        queries: dict[str, str] = {}
        for treatment in self.treatments:
            if treatment.cell_query is not None:
                queries.setdefault(treatment.cell_query, f"{treatment.where}: cell_query")
        return queries

    @property
    def treatment_columns(self) -> list[str]:
        """Columns of the table of perturbations that a prompt may use."""
        return list(self.treatments[0].columns) if self.treatments else []

    def check_prompt(self, faults: Faults) -> None:
        """Every field that the prompt takes from the table must be filled in every row."""
        fields = template_fields(self.prompts.get("perturbation_prompt", ""))
        for treatment in self.treatments:
            empty = [name for name in fields if treatment.columns.get(name) == ""]
            if empty:
                names = ", ".join(f"{{{name}}}" for name in empty)
                faults.append(f"{treatment.where}: empty, but the prompt uses {names}")

    def alike(self) -> list[str]:
        """Conditions that the prompt does not distinguish, in words."""
        if "perturbation_prompt" not in self.prompts:
            return []
        fields = template_fields(self.prompts["perturbation_prompt"])
        called: dict[tuple, str] = {}
        lines = []
        for treatment in self.treatments:
            row = {"perturbation": treatment.perturbation, **treatment.columns}
            words = (prompt_text(row, fields), *(row[name] for name in fields if name in row))
            other = called.setdefault(words, treatment.condition)
            if other != treatment.condition:
                lines.append(
                    f"{treatment.where}: the prompt is the same for {treatment.condition!r} and "
                    f"{other!r}; name the column that differs in --perturbation_prompt"
                )
        return lines

    def unmeasured(self) -> list[str]:
        """Perturbations that the data have no measured cells of, in words."""
        names = [
            treatment.condition
            for treatment in self.treatments
            if not {treatment.condition, treatment.perturbation} & self.measured
        ]
        if self.measured_column is None or self.measured_column in self.unknown or not names:
            return []
        return [
            f"--measured_column {self.measured_column}: no cell was measured under {some(names)}, "
            "which cannot be compared with measured cells" + self.held["--measured_column"].offer()
        ]

    def n_predictions(self, max_cells: int | None) -> int:
        """Cells × perturbations if every cell passes QC: no run predicts more."""
        if not self.wanted:
            return 0
        if self.treatments:
            counts = ((self.chosen[t.cell_query], t.n_cells or max_cells) for t in self.treatments)
        elif self.control is not None:
            counts = ((self.n_controls, max_cells) for _ in self.labelled_controls)
        else:
            counts = ((count, max_cells) for count in self.labelled.values())
        return sum(min(count, most or count) for count, most in counts)

    def n_no_ops(self, max_cells: int | None) -> int:
        """Answers to no-ops if every cell passes QC: one for each no-op and each of its cells."""
        prompt = self.prompts.get("perturbation_prompt")
        if not self.wanted or self.no_op in (None, NONE) or prompt is None:
            return 0
        if not self.treatments:
            kinds = {is_conversion(name) for name in self.labelled_controls}
            n_cells = len(kinds) * self.n_controls
            n_cells = self.labelled.total() if self.control is None else n_cells
            return min(n_cells, self.n_predictions(max_cells))
        text = self.no_op if self.no_op != AUTO else ""
        no_ops = NoOps(text, text or self.label_column, frozenset(template_fields(prompt)))
        counts: Counter[str] = Counter()
        for treatment in self.treatments:
            if no_op := no_ops.no_op_for(treatment):
                most = treatment.n_cells or max_cells or self.n_controls
                counts[no_op.condition] += min(self.chosen[treatment.cell_query], most)
        return sum(min(count, self.n_controls) for count in counts.values())

    def without_no_op(self) -> list[str]:
        """Conditions that nothing is predicted for to compare with, though no-ops are wanted."""
        if not self.wanted or self.no_op != AUTO or self.label_column is not None:
            return []
        names = [treatment.condition for treatment in self.treatments] or [*self.labelled]
        return [name for name in names if is_conversion(name)]

    def hold_out(self, share: float) -> None:
        """Only this share of the control cells is predicted, about."""
        self.chosen = Counter({query: ceil(n * share) for query, n in self.chosen.items()})

    def check(self, faults: Faults) -> None:
        """Faults that only all samples together show."""
        if self.grouping:
            self.grouping.check(faults)
        if self.training_cells is not None and not self.n_training_cells:
            faults.append(
                f"--training_cells {self.training_cells!r}: selects no cell of any sample"
                + self.held["--training_cells"].offer()
            )
        conditions = [*(t.condition for t in self.treatments), *self.labelled]
        if taken := [name for name in conditions if name.startswith(PREFIX)]:
            faults.append(
                f"perturbation {taken[0]!r}: names that begin with {PREFIX!r} are c2sflow's own; "
                "rename it"
            )
        if None in self.unknown:
            return
        if not self.n_controls and self.n_trained_controls:
            faults.append(
                f"--training_cells {self.training_cells!r}: selects every control cell, and nothing"
                " is predicted from cells that the model was trained on; narrow the query, or leave"
                " it out"
            )
            return
        if self.control is not None and not self.n_controls:
            faults.append(
                f"--control {self.control!r}: selects no cell of any sample"
                + self.held["--control"].offer()
            )
            return
        which = " that is not among --training_cells" if self.n_trained_controls else ""
        for query, place in self._queries().items():
            if query not in self.unknown and not self.chosen[query]:
                faults.append(
                    f"{place} {query!r}: selects no control cell{which} of any sample"
                    + self.held[place].offer()
                )
        by_column = self.perturbation_column not in (None, *self.unknown) and not self.treatments
        if by_column and not self.n_predictions(None):
            faults.append(
                f"--perturbation_column {self.perturbation_column}: holds no perturbation but "
                f"controls{which}; nothing to predict" + self.held["--perturbation_column"].offer()
            )
        if len(self.contexts) > MAX_CONTEXTS:
            faults.append(
                f"--context {self.context}: {len(self.contexts)} different values in the cells to "
                "perturb; give a column of labels"
            )

    def look_at_genes(self, symbols: Iterable[str]) -> None:
        """Note the genes of one sample."""
        if self.gene_sets or self.vocabulary:
            self.genes.append(gene_words(symbols))

    def check_vocabulary(self, faults: Faults) -> None:
        """Whether each sample has genes that answers may contain."""
        if self.vocabulary:
            for genes in self.genes:
                with faults.collect():
                    allowed_words(genes, self.vocabulary)

    def check_gene_sets(self, faults: Faults) -> list[str]:
        """Whether the data have genes of the sets; a line for the log."""
        if not self.gene_sets or not self.genes:
            return []
        found = found_genes(self.gene_sets, self.genes)
        if max(map(len, found.values())) < MIN_GENES:
            faults.append(
                f"--gene_sets: no set has {MIN_GENES} genes that every sample has; are its genes "
                "symbols, of this organism?"
            )
        return [describe_sets(self.gene_sets, found)]
