"""Samples that share a task: small ones, neighbours, a shard in all."""

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from c2sflow.sentences.shards import SHARD_GENES
from c2sflow.validation.packs import CELL_GENES, MOST_SAMPLES, packs

SIZES = st.lists(st.integers(0, 120), max_size=30)


def samples_of(sizes):
    return [{"id": f"s{number}", "n_obs": size} for number, size in enumerate(sizes)]


def test_neighbours_share_a_pack_until_a_shard_is_full():
    found = packs(samples_of([40, 30, 40, 100, 101, 1, 2]), 100, None)
    one, other = {"id": "s0+1", "size": 2}, {"id": "s5+1", "size": 2}
    assert found == {"s0": one, "s1": one, "s5": other, "s6": other}


@given(SIZES, st.integers(1, 100))
def test_packs_are_neighbours_and_no_larger_than_a_shard(sizes, shard_size):
    samples = samples_of(sizes)
    found = packs(samples, shard_size, None)
    runs = [
        (pack, [sample["n_obs"] for sample in own])
        for pack, own in groupby(samples, lambda sample: found.get(sample["id"], {}).get("id"))
        if pack is not None
    ]
    assert len({pack for pack, _ in runs}) == len(runs)
    for pack, own in runs:
        first = pack.partition("+")[0]
        assert found[first] == {"id": f"{first}+{len(own) - 1}", "size": len(own)}
        assert len(own) > 1
        assert sum(own) <= shard_size


@given(SIZES, SIZES)
def test_samples_at_the_end_change_only_the_last_pack(sizes, more):
    before, after = (packs(samples_of(own), 100, None) for own in (sizes, [*sizes, *more]))
    last = before.get(f"s{len(sizes) - 1}", {}).get("id")
    kept = {name: pack for name, pack in before.items() if pack["id"] != last}
    assert kept.items() <= after.items()


def test_a_shard_of_its_own_size_is_estimated_by_genes():
    n_cells = SHARD_GENES // 2 // (CELL_GENES + 20)
    assert len(packs(samples_of([n_cells, n_cells]), "auto", None)) == 2
    assert packs(samples_of([n_cells, 2 * n_cells]), "auto", None) == {}
    assert len(packs(samples_of([n_cells, 2 * n_cells]), "auto", 200)) == 2


def test_a_command_names_so_many_shards_at_most():
    found = packs(samples_of([1] * (MOST_SAMPLES + 3)), "auto", None)
    assert [pack["size"] for pack in found.values()] == [MOST_SAMPLES] * MOST_SAMPLES + [3] * 3
