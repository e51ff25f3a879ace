"""What is observed of the simulated land, by whom and when: products, their pixel grids, passes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from odc.geo.geobox import GeoBox

from pipeline.errors import Refused, nearest
from pipeline.sensors import LANDSAT, MODIS, PLANET_FUSION, PLANETSCOPE, SENTINEL1, SENTINEL2, Band, Coding, Sensor
from pipeline.sensors.modis import PIXEL, SINUSOIDAL
from pipeline.simulated.grids import covering, projected
from pipeline.simulated.weather import Weather
from pipeline.simulated.world import CRS, World

ORIGIN = (399960.0, 5799960.0)
"""Where the land lies: the upper left corner of a real Sentinel-2 tile, on multiples of 60 m."""

EPOCH = date(2024, 6, 1)
"""A day on which Sentinel-2 passes; the other days are counted from it."""

TILE = "33UVT"
"""Sentinel-2 tile that the land is the corner of."""


@dataclass(frozen=True)
class Tile:
    """A Sentinel-2 tile over a part of the land, on the pixels of its own UTM zone."""

    name: str = TILE
    """Zone, latitude band, square, such as ``33UVT``."""
    west: float = 0.0
    """Share of the land that lies west of it."""
    east: float = 1.0
    """Share of the land that does not lie east of it."""

    @property
    def crs(self) -> str:
        """Its UTM zone."""
        return f"EPSG:{326 if self.name[2] >= 'N' else 327}{self.name[:2]}"


@dataclass(frozen=True)
class Track:
    """A repeating pass."""

    platform: str
    """Satellite."""
    first: int
    """Days from ``EPOCH`` to one of its passes."""
    every: int
    """Days between its passes."""
    at: time
    """Time of day, UTC."""
    orbit: int = 0
    """Relative orbit, where it matters."""
    state: str = "descending"
    """Whether it flies north (``ascending``) or south."""


@dataclass(frozen=True)
class Stream:
    """One product of one sensor."""

    sensor: Sensor
    """The table of the sensor."""
    level: str
    """Processing level."""
    collection: str
    """STAC collection id."""
    bands: tuple[Band, ...]
    """Bands that are written."""
    coding: Coding
    """How."""
    pixel: float
    """Edge of its finest pixels in metres."""
    tracks: tuple[Track, ...]
    """Who passes when."""
    crs: str = CRS
    """Projection of its pixels."""
    noise: float = 0.0
    """Standard deviation of an optical sensor's noise in reflectance."""
    looks: float = 0.0
    """Equivalent number of looks of a radar's speckle."""
    offset: float = 0.0
    """Metres from multiples of ``pixel`` to the edges of pixels."""
    multiple: int = 1
    """Scenes begin and end on multiples of so many pixels."""
    days: int = 1
    """Days that are made into one image."""
    tile: Tile = Tile()
    """The part of the land that it shows."""

    def grid(self, world: World) -> GeoBox:
        """The product's own pixels over a world."""
        left, bottom, _, top = world.bounds
        west, east = left + self.tile.west * world.size, left + self.tile.east * world.size
        bounds = projected((west, bottom, east, top), CRS, self.crs)
        return covering(bounds, self.crs, self.pixel, self.offset, self.multiple)


@dataclass(frozen=True)
class Pass:
    """One acquisition, or what several days are made into."""

    stream: Stream
    """The product."""
    track: Track
    """Who passed."""
    moment: datetime
    """When, UTC; the first day's where there are several."""

    @property
    def moments(self) -> tuple[datetime, ...]:
        """When, on each of its days; the last image of a year ends with it."""
        days = (self.moment + timedelta(days=k) for k in range(self.stream.days))
        return tuple(day for day in days if day.year == self.moment.year)


MSI = (Track("sentinel-2a", 0, 5, time(10, 10, 31), 122),)

# Tracks over the land, two of them: one ascending in the evening, one descending in the morning, 12 days each.
CSAR = (
    Track("SENTINEL-1A", 2, 12, time(5, 24, 36), 95, "descending"),
    Track("SENTINEL-1A", 5, 12, time(16, 51, 12), 146, "ascending"),
)
OLI = (Track("landsat-8", 3, 16, time(10, 2, 12), 193), Track("landsat-9", 11, 16, time(10, 2, 5), 193))
TERRA = Track("terra", 0, 1, time(10, 40))
FUSED = Track("planetscope", 0, 1, time(0, 0))
DOVES = (Track("sim1", 0, 6, time(9, 34, 50)), Track("sim2", 3, 6, time(10, 6, 5)))

SHIFTED = Coding(1e-4, -0.1, nodata=0, saturated=65535)
"""Sentinel-2 of processing baseline 04.00 and later."""

# Noise: signal to noise ratios at a reflectance of 0.12 of 150 (MSI), 240 (OLI), 100 (MODIS, with what its correction
# leaves), 40 (Doves) and 80 (what is fused from them). Looks: the equivalent number of an interferometric wide swath's high
# resolution product, 4.4 (Sentinel-1 Product Specification, S1-RS-MDA-52-7441).
STREAMS = (
    Stream(
        sensor=SENTINEL1,
        level="RTC",
        collection="sentinel-1-rtc",
        bands=SENTINEL1.bands[:2],
        coding=SENTINEL1.product("RTC").coding,
        looks=4.4,
        pixel=10,
        tracks=CSAR,
    ),
    *(
        Stream(
            sensor=SENTINEL2,
            level=level,
            collection=f"sentinel-2-{level.lower()}",
            bands=SENTINEL2.bands,
            coding=SHIFTED,
            noise=0.0008,
            pixel=10,
            multiple=6,
            tracks=MSI,
        )
        for level in ("L1C", "L2A")
    ),
    Stream(
        sensor=LANDSAT,
        level="L2",
        collection="landsat-c2-l2",
        bands=LANDSAT.bands[:7],
        coding=LANDSAT.product("L2").coding,
        noise=0.0005,
        pixel=30,
        offset=15,
        tracks=OLI,
    ),
    *(
        Stream(
            sensor=MODIS,
            level=f"MOD{name}",
            collection=f"modis-{name}-061",
            bands=MODIS.bands[:7],
            coding=MODIS.product(f"MOD{name}").coding,
            noise=0.0012,
            crs=SINUSOIDAL,
            pixel=PIXEL,
            multiple=2,
            tracks=(TERRA,),
            days=days,
        )
        for name, days in (("09A1", 8), ("09GA", 1))
    ),
    Stream(
        sensor=PLANETSCOPE,
        level="SR",
        collection="PSScene",
        bands=PLANETSCOPE.bands,
        coding=PLANETSCOPE.product("SR").coding,
        noise=0.003,
        pixel=3,
        tracks=DOVES,
    ),
    Stream(
        sensor=PLANET_FUSION,
        level="SR",
        collection="planet-fusion",
        bands=PLANET_FUSION.bands,
        coding=PLANET_FUSION.product("SR").coding,
        noise=0.0015,
        pixel=3,
        tracks=(FUSED,),
    ),
)
"""Every product that can be simulated."""

FIVE = ("sentinel-1", "sentinel-2", "landsat", "modis", "planetscope")
"""Sensors that look at the land."""

SIMULATED = (*FIVE, "planet-fusion")
"""Every sensor, and the daily product without gaps that is fused from some."""


@dataclass(frozen=True)
class Campaign:
    """A piece of land, watched for a while."""

    start: date
    """First day."""
    end: date
    """Last day."""
    size: int = 300
    """Edge of the land in 10 m pixels, a multiple of 6."""
    sensors: tuple[str, ...] = FIVE
    """Who watches; ``planet-fusion`` may watch too."""
    levels: tuple[str, ...] = ("RTC", "L2A", "L2", "MOD09A1", "SR")
    """Processing levels of theirs that are written; there are ``L1C`` and ``MOD09GA`` (daily) besides."""
    seed: int = 1
    """The same seed gives the same land, clouds and noise."""
    clouds: float = 0.35
    """Share of the land under clouds on average, about."""
    spread: float = 1.0
    """0: every day is as cloudy as the average; 1: some are clear and others overcast."""
    clear: tuple[date, ...] = ()
    """Days without a cloud."""
    origin: tuple[float, float] = ORIGIN
    """Easting and northing of the land's upper left corner, on multiples of 60 m."""
    tiles: tuple[Tile, ...] = (Tile(),)
    """Sentinel-2 tiles that it is delivered in, of one UTM zone or of several."""

    def __post_init__(self) -> None:
        if self.size <= 0 or self.size % 6:
            raise ValueError(f"size {self.size} is not a multiple of 6 pixels (60 m)")
        if self.end < self.start:
            raise Refused(f"a campaign cannot end on {self.end}, before it starts on {self.start}.")
        for name, known in (("sensors", SIMULATED), ("levels", tuple(s.level for s in STREAMS))):
            for word in getattr(self, name):
                if word not in known:
                    raise Refused(f"the simulated Earth has no '{word}' among its {name}: {nearest(word, known)}.")

    @property
    def world(self) -> World:
        """The land; what is built there is built while it is watched."""
        return World(*self.origin, self.size * 10.0, self.seed, (self.start, self.end))

    @property
    def weather(self) -> Weather:
        """How cloudy the days are."""
        return Weather(self.seed, self.clouds, self.spread, self.clear)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """What is written."""
        chosen = (s for s in STREAMS if s.sensor.name in self.sensors and s.level in self.levels)
        return tuple(part for stream in chosen for part in self._tiled(stream))

    def _tiled(self, stream: Stream) -> tuple[Stream, ...]:
        """A product as it is delivered: Sentinel-2 tile by tile."""
        if stream.sensor is not SENTINEL2:
            return (stream,)
        return tuple(replace(stream, tile=tile, crs=tile.crs) for tile in self.tiles)

    def passes(self) -> list[Pass]:
        """Every acquisition, sensor by sensor, in order of time."""
        found = [p for stream in self.streams for p in _passes(stream, self.start, self.end)]
        order = [sensor.name for sensor in dict.fromkeys(s.sensor for s in self.streams)]
        return sorted(found, key=lambda p: (order.index(p.stream.sensor.name), p.moment, -p.stream.days))


def _passes(stream: Stream, start: date, end: date) -> Iterator[Pass]:
    """Passes from the first to the last day; eight-day images begin on days 1, 9, 17, ... of each year, as MODIS's do."""
    for track in stream.tracks:
        for k in range((end - start).days + 1):
            day = start + timedelta(days=k)
            if stream.days > 1 and (day.timetuple().tm_yday - 1) % stream.days:
                continue
            if ((day - EPOCH).days - track.first) % track.every == 0:
                yield Pass(stream, track, datetime.combine(day, track.at, UTC))
