"""`edit`: arithmetic on latents in units that people understand.

Legend: ``N`` subjects, ``L`` style layers.
"""

from __future__ import annotations

from collections.abc import Mapping

from latentedit.editing.result import Edit
from latentedit.editing.strength import find_distances, move
from latentedit.editing.subject import Faces, Subject, subject_of
from latentedit.editing.targets import Amount, Asked, Directions, Request, read_requests
from latentedit.errors import LatentError, ModelError
from latentedit.latents import Layers, check_ws, layer_indices
from latentedit.models import ModelLike
from latentedit.networks import StyleGenerator

_CHEAP_RESOLUTION = 256  # a render of this many pixels takes a few hundredths of a second on a CPU


def edit(
    source: Faces,
    *,
    generator: StyleGenerator | None = None,
    model: ModelLike | None = None,
    layers: Layers = None,
    distance: Mapping[str, Amount] | None = None,
    directions: Directions | None = None,
    verify: bool | None = None,
    **attributes: Amount,
) -> Edit:
    """Change attributes of faces: ``edit(inversion, age=+10, smile=0.8).image``.

    Args:
        source: an `Inversion`, latents ([N,L,w_dim], [N,w_dim], or a file of them), an `Edit`, or a list of those.
        generator: shows latents that do not say whose they are; the embedded generator by default.
        model: the same as a whole: a `Model`, or what `load_model` takes.
        layers: where all directions act: "coarse", "middle", "fine", "0-6", numbers; None leaves it to each direction.
        distance: raw distances along unit normals, by attribute.
        directions: further directions, by name or as a folder; they win over the model's own of the same name.
        verify: measure each edited face with the perception network, and correct the distances in up to five more
            renders, so that ``smile=0.8`` is a score of 0.8 on *this* face. None does so where it is cheap: perception
            network at hand, and a generator of at most 256 px or on a GPU. Without it the calibration's average
            decides.
        attributes: years and degrees are changes (``age=+10``, ``yaw=-15``), probabilities are scores to reach
            (``smile=0.8``). A sequence gives every row its own; with a single latent it makes a batch of it.

    Raises:
        DirectionError: an unknown attribute, an amount that is none, or a direction without the units asked for.
        FingerprintError: latents, inversions, or directions of another generator.
        LatentError: latents of a wrong shape or not finite. LayerError: layers that are not there.
        ModelError: ``verify=True`` without a perception network.
    """
    subject = subject_of(source, generator=generator, model=model)
    requests = read_requests(subject.model, attributes, distance, directions)
    subject, requests = _match_counts(subject, requests)
    chosen = None if layers is None else layer_indices(layers, subject.model.generator.synthesis.layer_resolutions)
    if verify is None:
        verify = can_verify(subject)
    elif verify and subject.model.perception is None:
        raise ModelError("verify=True needs a perception network, and the model has none.", "Leave verify out.")
    distances, targets = find_distances(subject, requests, chosen, verify)
    directed = [request.direction for request in requests]
    ws = move(subject.ws, list(zip(directed, distances.unbind(1), strict=True)), layers=chosen)
    ws = check_ws(ws, subject.model.generator.num_ws, subject.model.generator.w_dim)
    asked = {
        request.name: Asked.of(request, distances[:, k], targets.get(request.name))
        for k, request in enumerate(requests)
    }
    return Edit(before=subject, subject=subject.with_ws(ws), asked=asked)


def can_verify(subject: Subject) -> bool:
    """Whether looking at an edited face costs next to nothing."""
    model = subject.model
    return model.perception is not None and (model.resolution <= _CHEAP_RESOLUTION or model.device.type != "cpu")


def _match_counts(subject: Subject, requests: list[Request]) -> tuple[Subject, list[Request]]:
    """Bring subjects and amounts to one number of rows."""
    counts = {request.count for request in requests} - {1}
    rows = max({len(subject), *counts})
    if len(counts | ({len(subject)} - {1})) > 1:
        sizes = ", ".join(f"{request.name}: {request.count}" for request in requests)
        raise LatentError(f"Amounts do not match {len(subject)} latents ({sizes}).", "Give one, or one for each.")
    if len(subject) == 1 and rows > 1:
        subject = subject.take([0] * rows)
    device = subject.ws.device
    spread = [
        Request(
            request.name,
            request.direction,
            None if request.amount is None else request.amount.to(device).expand(rows),
            None if request.distance is None else request.distance.to(device).expand(rows),
        )
        for request in requests
    ]
    return subject, spread
