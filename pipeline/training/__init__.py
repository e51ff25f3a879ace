"""Teaching networks: which windows of a scene (``windows``), one scale down (``wald``), patches of it (``patches``), the
loop (``loop``), and the same for the very scene that a run will sharpen (``adaptation``)."""
