"""What a face can be said to have: the one table of attributes, their names, units, and the scale they are compared on.

Everything that reads, edits, fits or shows attributes goes through it, so that an attribute has one name everywhere:
``gender``, whoever typed ``male``. A model's perception network knows some of the table, its directions change some of
those, and users may add directions of names that are in no table. Legend: ``N`` faces.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from latentedit.errors import UnknownAttributeError

if TYPE_CHECKING:
    from torch import Tensor

    Scores = TypeVar("Scores", Tensor, np.ndarray)

CERTAIN = 0.995
"""A probability beyond this counts as reached, and below 0.005 as gone: log-odds have no end, and at 0.03 there still
is a shadow of a mask where at 0.005 there is none."""


@dataclass(frozen=True)
class Unit:
    """What scores are counted in.

    ``tolerance`` is how near is near enough on the even scale (0.15 in log-odds is 0.024 at a probability of 0.8),
    ``spread`` the least standard deviation among samples that changes are measured by, ``span`` the change that counts
    as much as a whole probability, ``digits`` how many decimals are shown. Amounts are changes, except of
    probabilities, which are scores to reach.
    """

    name: str
    tolerance: float
    spread: float
    span: float
    digits: int


UNITS: dict[str, Unit] = {
    unit.name: unit
    for unit in (
        Unit("years", tolerance=1.0, spread=5.0, span=10.0, digits=1),
        Unit("degrees", tolerance=1.0, spread=4.0, span=10.0, digits=1),
        Unit("probability", tolerance=0.15, spread=0.1, span=1.0, digits=2),
        Unit("brightness", tolerance=0.02, spread=0.02, span=0.3, digits=2),  # pixel values from -1 to 1
    )
}
YEARS, DEGREES, PROBABILITY, BRIGHTNESS = UNITS
_OTHER = Unit("", tolerance=1.0, spread=1e-6, span=1.0, digits=2)


@dataclass(frozen=True)
class Attribute:
    """One attribute: its canonical ``name``, what people ``see`` where there is much of it, the ``group`` that user
    interfaces show it in, its unit, and the ``aliases`` that people type instead. One that ``covers`` hides the face.
    """

    name: str
    see: str
    group: str
    unit: str = PROBABILITY
    aliases: tuple[str, ...] = ()
    covers: bool = False

    @property
    def tolerance(self) -> float:
        """How near is near enough, on the scale of `even`."""
        return UNITS[self.unit].tolerance

    @property
    def label(self) -> str:
        """The name as it is read, not typed: ``gray hair``."""
        return self.name.replace("_", " ")


TABLE: tuple[Attribute, ...] = (
    Attribute("age", "an older face", "face", YEARS),
    Attribute("yaw", "a face turned to the viewer's right", "pose", DEGREES),
    Attribute("pitch", "a face that looks up", "pose", DEGREES),
    Attribute("roll", "a head leant clockwise", "pose", DEGREES),
    Attribute("smile", "a smile", "expression", aliases=("smiling",)),
    Attribute("makeup", "heavy make-up", "make-up", aliases=("heavy_makeup", "make_up")),
    Attribute("lipstick", "lipstick", "make-up", aliases=("wearing_lipstick",)),
    Attribute("eyeglasses", "eyeglasses", "worn", aliases=("glasses", "spectacles"), covers=True),
    Attribute("gender", "a face taken for a man's", "face", aliases=("male",)),
    Attribute("hat", "a hat", "worn", aliases=("wearing_hat",)),
    Attribute("mask", "a face mask", "worn", aliases=("face_mask", "facemask"), covers=True),
    Attribute("young", "a face called young", "face"),
    Attribute("beard", "a beard", "beard"),
    Attribute("stubble", "stubble", "beard", aliases=("5_o_clock_shadow",)),
    Attribute("mustache", "a moustache", "beard", aliases=("moustache",)),
    Attribute("goatee", "a goatee", "beard"),
    Attribute("sideburns", "sideburns", "beard"),
    Attribute("bald", "a bald head", "hair", aliases=("baldness",)),
    Attribute("bangs", "hair over the forehead", "hair", aliases=("fringe",)),
    Attribute("receding_hairline", "a receding hairline", "hair"),
    Attribute("black_hair", "black hair", "hair"),
    Attribute("blond_hair", "blond hair", "hair", aliases=("blonde_hair", "blond", "blonde")),
    Attribute("brown_hair", "brown hair", "hair"),
    Attribute("gray_hair", "gray hair", "hair", aliases=("grey_hair",)),
    Attribute("straight_hair", "straight hair", "hair"),
    Attribute("wavy_hair", "wavy hair", "hair"),
    Attribute("earrings", "earrings", "worn", aliases=("wearing_earrings",)),
    Attribute("necklace", "a necklace", "worn", aliases=("wearing_necklace",)),
    Attribute("necktie", "a necktie", "worn", aliases=("wearing_necktie",)),
    Attribute("mouth_open", "an open mouth", "expression", aliases=("mouth_slightly_open",)),
    Attribute("high_cheekbones", "high cheekbones", "shape"),
    Attribute("rosy_cheeks", "rosy cheeks", "make-up"),
    Attribute("pale_skin", "pale skin", "shape"),
    Attribute("bags_under_eyes", "bags under the eyes", "shape"),
    Attribute("narrow_eyes", "narrow eyes", "shape"),
    Attribute("arched_eyebrows", "arched eyebrows", "shape"),
    Attribute("bushy_eyebrows", "bushy eyebrows", "shape"),
    Attribute("big_nose", "a big nose", "shape"),
    Attribute("pointy_nose", "a pointy nose", "shape"),
    Attribute("big_lips", "big lips", "shape"),
    Attribute("oval_face", "an oval face", "shape"),
    Attribute("chubby", "a chubby face", "shape"),
    Attribute("double_chin", "a double chin", "shape"),
    Attribute("brightness", "a brighter picture", "light", BRIGHTNESS, aliases=("light",)),
    Attribute("warmth", "a redder picture", "light", BRIGHTNESS),
    Attribute("contrast", "a picture of more contrast", "light", BRIGHTNESS),
)
"""Every attribute that has a meaning here; probabilities in the order in which perception networks are trained."""

GROUPS = ("face", "expression", "pose", "make-up", "hair", "beard", "worn", "shape", "light")
"""Groups in the order in which user interfaces show them."""

_BY_NAME = {attribute.name: attribute for attribute in TABLE}
_CANONICAL = {alias: attribute.name for attribute in TABLE for alias in attribute.aliases}

WORN = frozenset(attribute.name for attribute in TABLE if attribute.covers)
"""What hides the face behind it, and has a colour of its own."""


def plain(written: str) -> str:
    """``"Heavy-Makeup "`` as ``"heavy_makeup"``: how names are spelt in files and options."""
    return written.strip().lower().replace("-", "_").replace(" ", "_")


def canonical(written: str) -> str:
    """The one name of what ``written`` means; a name that is in no table is only spelt plainly."""
    name = plain(written)
    return _CANONICAL.get(name, name)


def get(written: str) -> Attribute | None:
    """The attribute that ``written`` means, or None for a name that is in no table."""
    return _BY_NAME.get(canonical(written))


def spellings(written: str) -> tuple[str, ...]:
    """Everything that the attribute ``written`` is called, its canonical name first."""
    attribute = get(written)
    return (canonical(written),) if attribute is None else (attribute.name, *attribute.aliases)


def find(written: str, known: Iterable[str]) -> str | None:
    """The one among ``known`` that ``written`` means, under whatever name either goes; an exact match wins."""
    names = list(known)
    wanted = canonical(written)
    exact = (name for name in (written, plain(written)) if name in names)
    return next(exact, next((name for name in names if canonical(name) == wanted), None))


def resolve(written: str, known: Iterable[str] | None = None, *, remedy: str | None = None) -> str:
    """As `find`, among ``known`` (None: the whole table).

    Raises:
        UnknownAttributeError: nothing of that name; says which one is spelt most like it, and ``remedy`` or which
            there are.
    """
    names = list(_BY_NAME if known is None else known)
    found = find(written, names)
    if found is not None:
        return found
    near = nearest(written, names)
    hint = "" if near is None else f" Did you mean {near!r}?"
    way_out = remedy or (f"Known: {', '.join(names)}." if names else "There are none.")
    raise UnknownAttributeError(f"Unknown attribute {written!r}.{hint}", way_out)


def nearest(written: str, known: Iterable[str]) -> str | None:
    """The one among ``known`` that is spelt most like ``written``, under any of its names; None where none is."""
    spelt = {spelling: name for name in known for spelling in (*spellings(name), name)}
    close = get_close_matches(plain(written), list(spelt), n=1, cutoff=0.7)
    return spelt[close[0]] if close else None


def mentioned(text: str) -> str | None:
    """The one attribute whose name stands in ``text`` as a word (``stylegan_ffhq_age_w_boundary``); None for none, or
    for several."""
    words = f"_{plain(text)}_"
    found = {a.name for a in TABLE for spelling in (a.name, *a.aliases) if f"_{spelling}_" in words}
    longest = {name for name in found if not any(name != other and f"_{name}_" in f"_{other}_" for other in found)}
    return next(iter(longest)) if len(longest) == 1 else None


def unit_of(written: str) -> str | None:
    """The unit of an attribute of the table; None for other names."""
    attribute = get(written)
    return None if attribute is None else attribute.unit


def get_unit(name: str) -> Unit:
    """What is known of the unit called ``name``; units of the user's own count as they are."""
    return UNITS.get(name, _OTHER)


def even(scores: Scores, unit: str) -> Scores:
    """Scores [N] (tensor or array) in float64 on the scale on which steps are worth the same everywhere, and moving
    along a direction adds: log-odds between -5.3 and 5.3 for probabilities (see `CERTAIN`), else the scores."""
    if isinstance(scores, np.ndarray):
        values = scores.astype(np.float64)
        if unit != PROBABILITY:
            return values
        clipped = np.clip(values, 1 - CERTAIN, CERTAIN)
        return np.log(clipped) - np.log1p(-clipped)
    values = scores.double()
    return values.clamp(1 - CERTAIN, CERTAIN).logit() if unit == PROBABILITY else values


def uneven(values: Scores, unit: str) -> Scores:
    """The scores that `even` makes ``values`` of: probabilities for log-odds, else the values."""
    if unit != PROBABILITY:
        return values
    if isinstance(values, np.ndarray):
        return 1 / (1 + np.exp(-values))
    return values.sigmoid()
