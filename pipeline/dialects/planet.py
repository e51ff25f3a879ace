"""PlanetScope and Planet Fusion in Planet's own words.

Sources: Planet, PSScene item type (assets and the order of their layers); Planet Fusion Monitoring Technical Specification.
"""

from pipeline.dialects.tables import Dialect, generic, layers_of, together
from pipeline.sensors import PLANET_FUSION, PLANETSCOPE

_FOUR = ("blue", "green", "red", "nir")
_EIGHT = tuple(band.name for band in PLANETSCOPE.bands)
_UDM2 = tuple(
    f"UDM2_{name}"
    for name in ("CLEAR", "SNOW", "SHADOW", "LIGHT_HAZE", "HEAVY_HAZE", "CLOUD", "CONFIDENCE", "UNUSABLE")
)
_MASKS = {
    name: keys
    for name, keys in together(*(layers_of(key, _UDM2) for key in ("ortho_udm2", "udm2"))).items()
    if name in {layer.name for layer in PLANETSCOPE.product("SR").quality}
}


def _layers(keys: tuple[str, ...], names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return together(*(layers_of(key, names) for key in keys), _MASKS)


_COLLECTIONS = ("PSScene", "psscene", "planetscope")
_SR = r"(analytic|analyticms|4b|8b)_sr"

PLANETSCOPE_DIALECTS = (
    Dialect(
        "Planet, eight bands",
        _COLLECTIONS,
        "planetscope",
        "SR",
        _SR,
        _layers(("ortho_analytic_8b_sr", "analytic_8b_sr"), _EIGHT),
    ),
    Dialect(
        "Planet, four bands",
        _COLLECTIONS,
        "planetscope",
        "SR",
        _SR,
        _layers(("ortho_analytic_4b_sr", "ortho_analytic_sr", "analytic_4b_sr", "analytic_sr"), _FOUR),
    ),
    generic(PLANETSCOPE, "SR", r"_sr\b|surface[-_ ]reflectance"),
)

# The order of the file is the specification's; eo:bands of items that Planet made for it list red first, wrongly.
FUSION_DIALECTS = (
    Dialect("Planet Fusion", ("planet-fusion", "PF-SR"), "planet-fusion", "SR", r"\bpf-sr", layers_of("bands", _FOUR)),
    generic(PLANET_FUSION, "SR", r"\bpf-sr|planet[-_ ]?fusion"),
)
