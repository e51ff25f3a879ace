"""Where the work runs. Each file gives a Dask client and imports only ``pipeline``."""
