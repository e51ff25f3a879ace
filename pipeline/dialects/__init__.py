"""Where the words of catalogs become ours: names of assets, projections, scales and offsets, catalog by catalog."""

from pipeline.dialects.normalise import collections_of, tile_of, to_scene

__all__ = ["collections_of", "tile_of", "to_scene"]
