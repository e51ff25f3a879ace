"""Where the words of catalogs become ours: names of assets, projections, scales and offsets, catalog by catalog.

``tables`` (what a dialect is), ``copernicus``, ``land``, ``planet`` (the dialects by operator), ``fields``, ``facts``,
``place`` (numbers, codings, times, platforms, tiles, projections, bounds), ``refusals`` (what is no scene, and what to use
instead), ``normalise`` (an item as a scene).
"""

from pipeline.dialects.facts import tile_of
from pipeline.dialects.fields import period_of, words_of
from pipeline.dialects.normalise import collections_of, rank, recognise, sensor_named, to_scene
from pipeline.dialects.place import boxes

__all__ = [
    "boxes",
    "collections_of",
    "period_of",
    "rank",
    "recognise",
    "sensor_named",
    "tile_of",
    "to_scene",
    "words_of",
]
