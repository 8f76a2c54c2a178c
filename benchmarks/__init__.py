"""Side-by-side measurements: Candor's way and the usual one, in one process, on synthetic traffic.

``python -m benchmarks`` runs all of them, ``python -m benchmarks.build`` and so on one of them.
"""
