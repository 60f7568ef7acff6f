"""Which groups of cells are held out, so that the shares of the cells are met."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set

from c2sflow.errors import UserError
from c2sflow.label_parts import contained_in, dose_series, parts_of

TRAIN, VALIDATION, TEST = ("train", "validation", "test")


def assign_groups(
    sizes: Mapping[str, int],
    held_out: float,
    validation: float,
    seed: int,
    containing: Mapping[str, Set[str]] | None = None,
) -> dict[str, str]:
    """Split of each group, so that the shares of the cells come near to those asked for.

    The largest group is for training. The others are gone through in an order drawn by seed and
    name; each that brings its split nearer to its share is taken, and if none does, the smallest.

    Parameters
    ----------
    sizes
        Cells of each group.
    held_out, validation
        Shares of the cells for test and validation; of 0, no group is taken.
    seed
        Decides which.
    containing
        Of each group, those that must be held out with it, itself among them; None: alone.

    Raises
    ------
    UserError
        If there are fewer groups than splits.
    """
    wanted = {TEST: held_out, VALIDATION: validation}
    wanted = {name: share * sum(sizes.values()) for name, share in wanted.items() if share > 0}
    own = {name: frozenset({name}) for name in sizes} | dict(containing or {})
    if len(sizes) <= len(wanted):
        raise UserError(_too_few(sizes, wanted))
    order = sorted(sizes, key=lambda name: (_draw(name, seed), name))
    # Of training: the largest that leaves enough groups that are no part of it.
    for largest in sorted(order, key=sizes.__getitem__, reverse=True):
        free = [name for name in order if largest not in own[name]]
        if len(free) >= len(wanted):
            break
    splits = dict.fromkeys(order, TRAIN)
    for left, (split, target) in zip(range(len(wanted) - 1, -1, -1), wanted.items(), strict=True):
        taken = _nearest(free, sizes, own, target, left)
        if not taken:
            raise UserError(_too_few(sizes, wanted))
        splits |= dict.fromkeys(taken, split)
        free = [name for name in free if name not in taken]
    return splits


def _too_few(sizes: Collection[str], wanted: Iterable[str]) -> str:
    names = ", ".join([TRAIN, *reversed(list(wanted))])
    listed = ", ".join(sorted(sizes)[:10]) or "none"
    return (
        f"{len(sizes)} groups ({listed}) for {len(names.split(', '))} splits ({names}): take a "
        "column with more, or --split_by cell, or say the split yourself in a --split_column"
    )


def _nearest(
    free: list[str],
    sizes: Mapping[str, int],
    own: Mapping[str, Set[str]],
    target: float,
    left: int,
) -> set[str]:
    """Groups of `free` with about `target` cells together; at least `left` groups remain.

    Empty where no group can be taken.
    """

    def with_all(name: str) -> set[str]:
        return own[name] & set(free)

    def size_of(names: Iterable[str]) -> int:
        return sum(sizes[name] for name in names)

    taken: set[str] = set()
    for name in free:
        more = taken | with_all(name)
        if len(free) - len(more) >= left and abs(size_of(more) - target) < abs(
            size_of(taken) - target
        ):
            taken = more
    if taken:
        return taken
    possible = [name for name in free if len(free) - len(with_all(name)) >= left]
    return with_all(min(possible, key=lambda name: size_of(with_all(name)))) if possible else set()


def _draw(name: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0split\0{name}".encode(), digest_size=8).digest()


def same_groups(sizes: Mapping[str, int], perturbations: bool) -> dict[str, str]:
    """Name of the group of each label: labels that differ in case only are one group.

    Parameters
    ----------
    sizes
        Label, without white space around it, to its cells.
    perturbations
        Labels of one perturbation are one group too: see `c2sflow.label_parts`.

    Returns
    -------
    Label to the commonest label of its group, or for doses of what does not occur without one, to
    its bare name.
    """
    doses: Mapping[str, str] = {}
    if perturbations:
        alone = [next(iter(parts)) for parts in map(parts_of, sizes) if len(parts) == 1]
        doses = dose_series(alone)[0]
    groups = defaultdict(list)
    for label in sorted(sizes, key=lambda name: (-sizes[name], name)):
        if perturbations:
            key = frozenset(doses.get(part, part) for part in parts_of(label))
        else:
            key = label.casefold()
        groups[key].append(label)
    names = {}
    for key, labels in groups.items():
        name = labels[0]
        if perturbations:
            plain = [label for label in labels if parts_of(label) == key]
            name = plain[0] if plain else "+".join(sorted(key))
        names |= dict.fromkeys(labels, name)
    return names


def groups_containing(names: Collection[str]) -> dict[str, frozenset[str]]:
    """For each perturbation, those that contain all of its parts, itself among them."""
    holders: dict[str, set[str]] = defaultdict(set)
    for name in names:
        for part in contained_in(name):
            holders[part].add(name)
    return {
        name: frozenset(set.intersection(*(holders[part] for part in parts_of(name))))
        for name in names
    }
