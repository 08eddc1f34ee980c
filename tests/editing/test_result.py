"""`Edit`: pictures, files, and what it refuses to say of a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from latentedit.editing import edit
from latentedit.errors import (
    LatentError,
    OutputError,
)
from latentedit.inversion import Inversion
from latentedit.models import Model


def test_batches_do_not_pretend_to_be_one_face(model: Model, ws: Tensor, tmp_path: Path) -> None:
    changed = edit(ws, model=model)
    with pytest.raises(LatentError, match=r"holds 3 faces.*Use \.images"):
        _ = changed.image
    with pytest.raises(LatentError, match=r"Use \.all_metrics"):
        _ = changed.metrics
    with pytest.raises(LatentError, match=r"Use \.images"):
        changed.save(tmp_path / "a.png")


def test_save_writes_pictures(model: Model, inversion: Inversion, tmp_path: Path) -> None:
    changed = edit(inversion, model=model)
    with Image.open(changed.save(tmp_path / "deep" / "a.png")) as written:
        np.testing.assert_array_equal(np.asarray(written), np.asarray(inversion.image))
    with pytest.raises(OutputError, match="does not say what kind of picture"):
        changed.save(tmp_path / "a.doc")
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["a.png"]
