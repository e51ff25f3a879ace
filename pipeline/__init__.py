"""fusecube's pipeline: from a STAC query to a fused Zarr store, one idea a file.

Read it in the order of the road, which is also the order of imports (arrows point one way; a file imports only
from files to its left)::

    errors, sensors, scene, lattice
        <- radiometry, access, catalog
            <- reader <- cube
        <- degrade <- metrics
        <- models (declaration <- registry <- layers, one model a file)
            <- inference
    record <- store, ledger
        <- job <- plan <- engine
            <- picture, export, report
    simulated: a small Earth with known truth, for demonstration and tests

``flows`` (the command line and the run specifications) and ``cluster`` (where the work runs) build on this package;
nothing here imports them.
"""

__version__ = "0.1.0"
