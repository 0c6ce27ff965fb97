"""The benchmark behind ``scripts/bench``: workloads, systems under test, report.

Layers, imports go downwards only::

    cli → report → targets
     └→ runner → workloads → systems (pithosfs, rclone, raw, kamaki)
           └→ growth            └→ store, network, processes, corpus
"""
