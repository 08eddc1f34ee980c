from __future__ import annotations

import torch

from latentedit.inversion.adam import Adam


def _gradients() -> list[torch.Tensor]:
    stream = torch.Generator().manual_seed(3)
    return [torch.randn(3, 5, generator=stream) * 10 ** torch.randn(3, 1, generator=stream) for _ in range(20)]


def test_takes_the_steps_of_torch_adam():
    mine = torch.ones(3, 5)
    reference = torch.nn.Parameter(torch.ones(3, 5))
    optimizer = torch.optim.Adam([reference], lr=0.1, betas=(0.9, 0.99), eps=1e-8)
    adam = Adam([mine])
    for gradient in _gradients():
        adam.step([gradient], [torch.tensor(0.1)])
        reference.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(mine, reference.detach(), rtol=1e-5, atol=1e-6)


def test_every_variable_has_its_own_rate_and_a_rate_of_zero_rests():
    still, moved, alone = torch.zeros(3, 5), torch.zeros(3, 5), torch.zeros(3, 5)
    both, one = Adam([still, moved]), Adam([alone])
    for gradient in _gradients():
        both.step([gradient, gradient], [torch.tensor(0.0), torch.tensor(0.02)])
        one.step([gradient], [torch.tensor(0.02)])
    assert torch.equal(still, torch.zeros(3, 5))
    assert torch.equal(moved, alone)
