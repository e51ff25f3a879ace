"""fusecube's pipeline: from a STAC query to a fused Zarr store, one idea a file.

Read it in the order of the road, which is also the order of imports (arrows point one way; a file imports
only from lines above its own)::

    errors, memory, hosts
    objects
    sensors, lattice, degrade, metrics, lease
    scene, flags, encoding, consistency
    connections, kernels
    signing, placement
    transport
    remote, warp
    access
    radiometry, dialects, dates, harmonise
    stac, reader, region
    catalog, cube
    mosaic
    clearness, registration, tree
    models (declaration, architectures, weights, registry; layers, gates, then one network a file; sharpener)
    inference
    device
    touched
    job, record
    ledger, measure, events, conditions
    needs
    plan, store
    calibration
    price, watch
    growth, staff
    changing, summary, fuse, flight
    zones, standing
    post, overviews
    strip, lazily
    engine, export, picture
    report
    training (windows, wald, patches, loop, adaptation): how networks are taught
    quality
    figures
    simulated (spectra, world, weather, look, views, archive, …): a small Earth with known truth, seen by five sensors

``flows`` (the command line and the run specifications) and ``cluster`` (where the work runs) build on this package;
nothing here imports them.
"""

__version__ = "0.1.0"
