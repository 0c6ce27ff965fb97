"""The benchmark behind ``scripts/bench``: workloads, systems under test, report.

Layers, imports go downwards only::

    cli → plots → report → targets, growth
     └→ growth → runner → workloads, systems (pithosfs, rclone, raw, kamaki)
                             └→ store, network, children, processes, corpus
"""
