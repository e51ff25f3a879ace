"""A simulated Earth with known truth: a small country of fields, water, roads, buildings and forest, through the year, seen by
five sensors.

``spectra`` (what things reflect and scatter), ``chance`` (smooth fields and draws from a seed), ``grids`` (where pixels lie),
``seasons`` (what the land is like on a day), ``world`` (what lies where, and what is built when), ``ground`` (what a window
stands on), ``look`` (truth for any sensor, day and grid), ``weather`` (clouds and shadows), ``streams`` (products and passes),
``marks`` (quality layers), ``optical``, ``radar``, ``views`` (what an acquisition holds), ``items`` (STAC dialects),
``archive`` (COGs and a catalog). Everything follows from a seed; nothing is drawn at a resolution, so any sensor can look.
"""
