"""A simulated Earth with known truth: a small country of fields, water, roads, buildings and forest, seen by sensors.

``spectra`` (what things reflect), ``world`` (what lies where), ``sentinel2`` (how the sensor sees it), ``archive`` (COGs and
a STAC catalog). Everything follows from a seed; nothing is drawn at a resolution, so any sensor can look at it.
"""
