"""What a table of a dialect holds, and the names that every catalog may use: our own."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.sensors import Sensor


@dataclass(frozen=True)
class Dialect:
    """How a catalog speaks of one product."""

    catalog: str
    """Whose words these are."""
    collections: tuple[str, ...]
    """STAC collection ids under which it is offered; none for words that any catalog may use."""
    sensor: str
    """Name of the sensor."""
    level: str
    """Processing level."""
    marks: str
    """Regular expression that finds this product in an item's own words (``words_of``), where its collection is not known."""
    assets: Mapping[str, tuple[str, ...]]
    """Band or quality layer to the keys that an asset may have, the preferred first; ``key#3`` is the third layer of a file."""
    by_band: bool = False
    """Whether files are also searched for bands by the names that ``eo:bands`` or ``bands`` give their layers."""


def generic(table: Sensor, level: str, marks: str) -> Dialect:
    """The dialect of a catalog that names assets, or layers of a file, after our bands or by their common names."""
    product = table.product(level)
    names: dict[str, tuple[str, ...]] = {band.name: (band.name, band.name.lower(), band.common) for band in table.bands}
    names |= {layer.name: (layer.name, layer.name.lower()) for layer in product.quality}
    offered = {name: tuple(filter(None, keys)) for name, keys in names.items()}
    return Dialect("any", (), table.name, level, marks, offered, by_band=True)


def layers_of(key: str, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Layers of one file in their order.

    >>> layers_of("data", ("red", "nir"))
    {'red': ('data#1',), 'nir': ('data#2',)}
    """
    return {name: (f"{key}#{number}",) for number, name in enumerate(names, start=1)}


def together(*tables: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Tables of keys joined: a band may have the keys of each, those of the first preferred."""
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: tuple(key for table in tables for key in table.get(name, ())) for name in names}
