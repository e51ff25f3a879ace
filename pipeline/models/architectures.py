"""The networks there are, as data: where each is built, how far its pixels reach, where it comes from. No torch here.

A sharpening model holds one network for the bands of 20 m and one for those of 60 m, each with weights of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.errors import Refused, nearest


@dataclass(frozen=True)
class Architecture:
    """One network, built for the bands and ratios that it is given."""

    name: str
    """Name in specifications and cards."""
    module: str
    """Where its class is, ``package.module:Class``; called with (bands, ratios, **options)."""
    reach: Mapping[int, int]
    """Ratio of the coarsest input to the pixels of the output on each side that a pixel depends on, gates being fixed."""
    cost: Mapping[int, float]
    """Million multiply-adds a pixel of the output, by the same ratios."""
    source: str
    """The paper."""
    options: Mapping[str, type] = field(default_factory=lambda: {"width": int, "blocks": int})
    """What may be chosen when it is built."""
    cascade: bool = False
    """Whether the network of the coarsest bands is given the middle ones as sharpened by the other."""
    gated: bool = False
    """Whether it has gates that pool over the whole input."""


# Reach: one pixel a 3×3 convolution, two coarse pixels for the cubic interpolation of an input (rounded up to whole
# coarse pixels where a network folds pixels into channels); tests/pipeline/test_networks.py holds each against the network.
ARCHITECTURES = {
    a.name: a
    for a in (
        Architecture("light", "pipeline.models.light:Light", {2: 30, 6: 42}, {2: 0.12, 6: 0.12}, "fusecube's own"),
        Architecture(
            "dsen2",
            "pipeline.models.dsen2:DSen2",
            {2: 18, 6: 26},
            {2: 1.79, 6: 1.79},
            "Lanaras et al. 2018, doi:10.1016/j.isprsjprs.2018.09.018",
        ),
        Architecture(
            "spr-net",
            "pipeline.models.sprnet:SPRNet",
            {2: 19, 6: 27},
            {2: 3.86, 6: 5.77},
            "Wu et al. 2020, doi:10.3390/rs12182926",
        ),
        Architecture(
            "rdsr",
            "pipeline.models.rdsr:RDSR",
            {2: 52, 6: 100},
            {2: 2.2, 6: 4.4},
            "Salgueiro et al. 2021, doi:10.3390/rs13245007",
            options={"width": int, "growth": int, "blocks": int},
            cascade=True,
        ),
        Architecture(
            "mpifnet",
            "pipeline.models.mpifnet:MPIFNet",
            {2: 34, 6: 90},
            {2: 2.44, 6: 4.12},
            "Liu et al. 2023, doi:10.1109/JSTARS.2023.3326965",
            options={"width": int, "progressive": bool, "interactive": bool, "weighted": bool, "chain": bool},
            gated=True,
        ),
    )
}


def architecture(name: str) -> Architecture:
    """The architecture called ``name``; raises ``Refused`` with the nearest valid name."""
    if name not in ARCHITECTURES:
        raise Refused(f"there is no network '{name}': {nearest(name, ARCHITECTURES)}.")
    return ARCHITECTURES[name]


def check_options(name: str, options: Mapping[str, object]) -> None:
    """Raise ``Refused`` where an option is none of an architecture's, or has no sense."""
    known = architecture(name).options
    for option, value in options.items():
        if option not in known:
            raise Refused(f"{name} has no option '{option}': {nearest(option, known)}.")
        if type(value) is not known[option] or (known[option] is int and not 0 < int(str(value)) <= 1024):
            wanted = "true or false" if known[option] is bool else "a whole number from 1 to 1024"
            raise Refused(f"option {option} of {name} is {wanted}, not {value!r}.")
