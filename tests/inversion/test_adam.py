from __future__ import annotations

import torch

from latentedit.inversion.adam import RowAdam


def _gradients(count: int) -> list[torch.Tensor]:
    stream = torch.Generator().manual_seed(3)
    return [torch.randn(count, 5, generator=stream) * 10 ** torch.randn(count, 1, generator=stream) for _ in range(20)]


def test_takes_the_steps_of_torch_adam():
    mine = torch.ones(3, 5)
    reference = torch.nn.Parameter(torch.ones(3, 5))
    optimizer = torch.optim.Adam([reference], lr=0.1, betas=(0.9, 0.99), eps=1e-8)
    adam = RowAdam([mine])
    for gradient in _gradients(3):
        adam.step([mine], [gradient], [torch.full([3], 0.1)])
        reference.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(mine, reference.detach(), rtol=1e-5, atol=1e-6)


def test_every_row_has_its_own_rate_and_a_rate_of_zero_rests():
    both, slow = torch.zeros(2, 5), torch.zeros(1, 5)
    adam, alone = RowAdam([both]), RowAdam([slow])
    for gradient in _gradients(2):
        adam.step([both], [gradient], [torch.tensor([0.0, 0.02])])
        alone.step([slow], [gradient[1:]], [torch.tensor([0.02])])
    assert torch.equal(both[0], torch.zeros(5))
    assert torch.equal(both[1], slow[0])


def test_rows_go_on_unchanged_when_others_are_dropped():
    gradients = _gradients(3)
    whole, part = torch.zeros(3, 5), torch.zeros(3, 5)
    adam, shrinking = RowAdam([whole]), RowAdam([part])
    keep = torch.tensor([0, 2])
    for step, gradient in enumerate(gradients):
        adam.step([whole], [gradient], [torch.full([3], 0.1)])
        if step == 7:
            part = part[keep]
            shrinking.take(keep)
        shrinking.step([part], [gradient if step < 7 else gradient[keep]], [torch.full([len(part)], 0.1)])
    assert torch.equal(whole[keep], part)
