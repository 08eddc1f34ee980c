"""Registering the operations with torch.library: fake kernels for tracing, autograd by composing registered ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

LIBRARY = torch.library.Library("latentedit", "DEF")


def register(
    schema: str,
    implementation: Callable[..., Any],
    fake: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    setup_context: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Define ``latentedit::<schema>`` for every device and return the callable operation."""
    name = schema.partition("(")[0]
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag, torch.Tag.needs_fixed_stride_order))
    LIBRARY.impl(name, implementation, "CompositeExplicitAutograd")
    torch.library.register_fake(f"latentedit::{name}", fake, lib=LIBRARY)
    if backward is not None:
        torch.library.register_autograd(f"latentedit::{name}", backward, setup_context=setup_context, lib=LIBRARY)
    return getattr(torch.ops.latentedit, name).default
