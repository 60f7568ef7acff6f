"""The loss of examples against transformers' own, in every layout."""

import numpy as np
import pytest
import torch

from c2sflow.training import loss as training_loss
from c2sflow.training.examples import Example
from c2sflow.training.loss import batch_targets, micro_batches, token_losses


@pytest.fixture(scope="module")
def examples():
    """12 examples of 20 to 140 tokens, longer and shorter than the window of 48."""
    random = np.random.default_rng(0)
    made = []
    for n in random.integers(20, 140, 12).tolist():
        ids = random.integers(4, 900, n).astype(np.int32)
        n_prompt = int(random.integers(10, n - 3))
        made.append(Example("generation", ids, n_prompt, (4, 9)))
    return made


def losses(model, examples, max_tokens, attention="eager", gene_weight=0.0, grad=False):
    """Weighted loss of each example, by the batches of `micro_batches`."""
    found = torch.zeros(len(examples))
    with torch.set_grad_enabled(grad):
        for batch in micro_batches(examples, max_tokens, attention, 0):
            targets = batch_targets(batch, examples, gene_weight)
            weighted = token_losses(model, batch, targets) * targets.weights
            rows = torch.tensor(batch.rows)
            owner = torch.searchsorted(
                torch.from_numpy(batch.starts), targets.positions, right=True
            )
            found = found.index_add(0, rows[owner - 1], weighted)
    return found


@pytest.fixture(scope="module")
def expected(reference, examples):
    """transformers' loss of each example alone, all but its answer masked."""
    made = []
    for example in examples:
        ids = torch.from_numpy(example.input_ids.astype(np.int64))[None]
        labels = ids.clone()
        labels[:, : example.n_prompt] = -100
        with torch.no_grad():
            made.append(float(reference(input_ids=ids, labels=labels).loss))
    return torch.tensor(made)


@pytest.mark.parametrize("max_tokens", [1, 300, 10_000])
def test_loss_is_that_of_the_answers(reference, examples, expected, max_tokens):
    torch.testing.assert_close(
        losses(reference, examples, max_tokens), expected, rtol=1e-5, atol=1e-5
    )


def test_packed_rows_have_the_same_loss_and_gradients(reference, examples, expected, monkeypatch):
    gradients = []
    for attention in ("eager", "packed"):
        monkeypatch.setattr(training_loss, "TAKE_PACKED", {"packed"})
        reference.zero_grad()
        found = losses(reference, examples, 400, attention, grad=True)
        torch.testing.assert_close(found.detach(), expected, rtol=1e-5, atol=1e-5)
        found.sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in reference.parameters()]))
    reference.zero_grad()
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[0].norm()


def test_genes_of_the_prompt_count_as_they_are_told_to(reference, examples, expected):
    only_genes = [
        Example(example.task, example.input_ids[:9], 4, (0, 0)) for example in examples
    ]  # what comes behind cannot matter
    genes = losses(reference, only_genes, 300)
    found = losses(reference, examples, 300, gene_weight=0.2)
    torch.testing.assert_close(found, expected + 0.2 * genes, rtol=1e-5, atol=1e-5)


def test_logits_in_parts_give_the_same_gradients(reference, examples, monkeypatch):
    gradients = []
    for rows in (10_000, 7):
        monkeypatch.setattr(training_loss, "HEAD_ROWS", rows)
        reference.zero_grad()
        losses(reference, examples, 10_000, grad=True).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in reference.parameters()]))
    reference.zero_grad()
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[0].norm()


def test_batches_hold_every_example_and_little_padding(examples):
    for max_tokens in (100, 300, 5000):
        batches = list(micro_batches(examples, max_tokens, "eager", 0))
        assert sorted(row for batch in batches for row in batch.rows) == list(range(12))
        for batch in batches:
            sizes = [ids.size for ids in batch.prompts]
            assert len(sizes) == 1 or batch.n_slots <= max_tokens
            assert min(sizes) >= 0.9 * max(sizes)
