"""Prompts that begin alike: which ones do, and an order in which they are neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Prompts count as alike that have so many tokens in common at least, and this share of the longest.
# With less, to prefill the beginnings apart costs more than it saves.
FEWEST_TOKENS = 32
LEAST_SHARE = 0.5


def n_common(one: np.ndarray, other: np.ndarray) -> int:
    """Number of tokens that two prompts have in common at their beginning."""
    size = min(one.size, other.size)
    differ = one[:size] != other[:size]
    return int(differ.argmax()) if differ.any() else size


def alike(prompts: Sequence[np.ndarray]) -> list[list[int]]:
    """Numbers of the prompts in groups, all of a group with a beginning long enough in common.

    Groups, and prompts within them, come in the order of their first tokens; a prompt like no other
    is a group of its own.
    """
    # Sorted as text is, prompts between two that begin alike begin so too.
    keys = [ids.astype(">u4").tobytes() for ids in prompts]
    order = sorted(range(len(prompts)), key=keys.__getitem__)
    groups: list[list[int]] = []
    common = longest = 0  # tokens that the last group has in common, and of its longest prompt
    for number in order:
        ids = prompts[number]
        shared = min(common, n_common(prompts[groups[-1][-1]], ids)) if groups else 0
        size = max(longest, ids.size)
        if shared >= max(FEWEST_TOKENS, LEAST_SHARE * size):
            groups[-1].append(number)
            common, longest = shared, size
        else:
            groups.append([number])
            common = longest = ids.size
    return groups


def neighbours(prompts: Sequence[np.ndarray]) -> list[int]:
    """Numbers of the prompts that are not empty: the longest first, those of a group together.

    Within a group the longest is first, too, and equal prompts are together.
    """
    groups = alike(prompts)

    def size(number: int) -> int:
        return prompts[number].size

    groups = [sorted(group, key=size, reverse=True) for group in groups]
    groups.sort(key=lambda group: (-size(group[0]), min(group)))
    return [number for group in groups for number in group if size(number)]


def n_together(prompts: Sequence[np.ndarray], max_tokens: int) -> int:
    """How many of the prompts, from the first on, to prefill together.

    Parameters
    ----------
    prompts
        In the order of `neighbours`.
    max_tokens
        To compute, padding included; a single prompt may have more. Different prompts may have
        four times as many themselves, because what they have in common is computed once.
    """
    computed = slots = longest = 0
    for number, ids in enumerate(prompts):
        longest = max(longest, ids.size)
        common = n_common(prompts[number - 1], ids) if number else 0
        if number and common == ids.size == prompts[number - 1].size:
            continue  # the same prompt once more
        shared = common >= max(FEWEST_TOKENS, LEAST_SHARE * ids.size)
        computed += ids.size - common if shared else longest
        slots += longest
        if number and (computed > max_tokens or slots > 4 * max_tokens):
            return number
    return len(prompts)
