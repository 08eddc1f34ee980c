"""The model ``ffhq``: its generator is read from another Python package, its other parts are those of this one."""

from __future__ import annotations

import warnings

import torch

from latentedit.checkpoints.recognise import read_checkpoint
from latentedit.errors import ModelError
from latentedit.models.folder import read_manifest, read_parts
from latentedit.models.locations import (
    EMBEDDED,
    PACKAGE,
    PACKAGED,
    bundled_folder,
    is_complete,
    packaged_weights,
)
from latentedit.models.model import Model
from latentedit.networks import fingerprint

REMEDY = f"Fetch them with `latentedit model download {PACKAGED}` (38 MB, research and non-commercial use)."
_noticed = False


def load_packaged(device: torch.device) -> Model:
    """The model ``ffhq`` with its networks on ``device``.

    Raises:
        ModelError: its weights are not here, damaged, or not those that its other parts were made for.
    """
    source = packaged_weights()
    if source is None:
        raise ModelError(f"The weights of {PACKAGED!r} are not here: {PACKAGE} is not installed.", REMEDY)
    origin = repr(str(source))
    generator = read_checkpoint(source).build_generator(origin).to(device)
    own = fingerprint(generator)
    folder = bundled_folder(PACKAGED)
    manifest = read_manifest(folder)
    if own != manifest.get("fingerprint"):
        raise ModelError(
            f"{origin} holds the generator {own}; the parts of {PACKAGED!r} belong to {manifest.get('fingerprint')}.",
            "Install the version that `latentedit model download` fetches.",
        )
    mapping = str(manifest.get("mapping", ""))
    parts = read_parts(folder, generator, own, mapping, device=device)
    return Model(PACKAGED, generator, path=source, fingerprint=own, mapping_fingerprint=mapping, **parts)


def notice_fallback() -> None:
    """Say once that the embedded model serves in the place of ``ffhq``, and what to do about it."""
    global _noticed
    if _noticed or not is_complete():
        return
    _noticed = True
    warnings.warn(
        f"The weights of {PACKAGED!r} (1024 px) are not here; the embedded {EMBEDDED!r} (64 px) is used. {REMEDY}",
        stacklevel=4,
    )
