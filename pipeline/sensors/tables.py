"""What the table of a sensor holds."""

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import Refused, nearest

Law = Literal["linear", "decibel", "amplitude"]

UNKNOWN_MTF = 0.29
"""MTF at Nyquist of a sensor for which none is published: the value that the pansharpening literature takes for one
(Vivone et al. 2015, doi:10.1109/TGRS.2014.2361734, toolbox)."""


@dataclass(frozen=True)
class Band:
    """One band of a sensor."""

    name: str
    """Name in specifications and model declarations, such as ``B8A``, ``nir08`` or ``VV``."""
    common: str
    """Common name that bands of several sensors share, such as ``nir08``; empty where there is none."""
    resolution: int
    """Ground sampling distance in metres, nominal."""
    center: float
    """Central wavelength in nm; 0 for a radar."""
    width: float
    """Bandwidth (full width at half maximum) in nm; 0 for a radar."""
    mtf: float
    """Modulation transfer function at the Nyquist frequency of the band's own sampling, 0 to 1."""
    fill: float
    """Quantity that stands in for a missing pixel before a network: a typical value over land."""


@dataclass(frozen=True)
class Coding:
    """How digital numbers mean a quantity: ``law(DN * scale + offset)``."""

    scale: float
    """Step of the scaled value per digital number."""
    offset: float
    """Scaled value of digital number 0."""
    nodata: float | None
    """Digital number of a pixel that was not measured; ``None`` where only NaN says so."""
    saturated: float | None
    """Digital number of a saturated pixel, ``None`` where the coding has none."""
    dtype: str = "uint16"
    """Type of the digital numbers."""
    law: Law = "linear"
    """``linear``: the scaled value is the quantity; ``decibel``: power is 10^(value/10); ``amplitude``: power is value²."""
    low: float | None = None
    """Least digital number that counts as measured, where the product states a valid range."""
    high: float | None = None
    """Greatest digital number that counts as measured."""


@dataclass(frozen=True)
class Quality:
    """A layer of a product that says what a pixel is; classes or bits, never to be averaged."""

    name: str
    """Name of the layer, such as ``SCL`` or ``QA_PIXEL``."""
    resolution: int
    """Ground sampling distance in metres, nominal."""
    dtype: str
    """Type of its codes."""
    meaning: str
    """How codes become flags: a table in ``pipeline.flags``."""
    nodata: int = 0
    """Code of a pixel that was not measured."""


@dataclass(frozen=True)
class Product:
    """What is distributed of a sensor at one processing level."""

    level: str
    """Short name of the level, such as ``L2A``."""
    quantity: str
    """Physical quantity of the decoded bands."""
    coding: Coding
    """Coding of its bands, where the item says nothing else."""
    quality: tuple[Quality, ...] = ()
    """Layers that say what a pixel is, the most telling first."""
    codings: tuple[tuple[str, Coding], ...] = ()
    """Codings of bands that differ from the others."""
    quantities: tuple[tuple[str, str], ...] = ()
    """Physical quantities of bands that differ from the others; temperatures are in kelvin."""

    def quantity_of(self, band: str) -> str:
        """The physical quantity of a band."""
        return dict(self.quantities).get(band, self.quantity)

    def coding_of(self, band: str) -> Coding:
        """The usual coding of a band."""
        return dict(self.codings).get(band, self.coding)


@dataclass(frozen=True)
class Sensor:
    """An instrument, or several alike, and the products that are made of it."""

    name: str
    """Short name used in specifications and model declarations."""
    bands: tuple[Band, ...]
    """Bands in the order of the product."""
    products: tuple[Product, ...]
    """Its products, the preferred first."""
    grouped_by: Literal["day", "track", "platform"] = "day"
    """What makes scenes one image: a solar day, a solar day of one platform, or one pass of a radar (relative orbit and
    datatake)."""

    def band(self, name: str) -> Band:
        """The band called ``name``; raises ``Refused`` with the nearest valid name."""
        for band in self.bands:
            if band.name == name:
                return band
        raise Refused(f"{self.name} has no band '{name}': {nearest(name, (b.name for b in self.bands))}.")

    def product(self, level: str) -> Product:
        """The product of a processing level; raises ``Refused`` with the nearest valid level."""
        for product in self.products:
            if product.level == level:
                return product
        raise Refused(f"{self.name} has no level '{level}': {nearest(level, self.levels)}.")

    @property
    def levels(self) -> tuple[str, ...]:
        """Processing levels, the preferred first."""
        return tuple(product.level for product in self.products)

    @property
    def quality(self) -> tuple[Quality, ...]:
        """Every quality layer of every product, each once."""
        return tuple({q.name: q for product in self.products for q in product.quality}.values())
