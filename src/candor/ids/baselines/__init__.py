"""Baselines, judged on the same windows and by the same protocol as every model.

Files:
    specialists   training-free, relative to the vehicle's profile: one line each
    statistics    windows as rows of numbers, for detectors that know no graphs
    learned       boosted trees, isolation forest, ID transitions
    outliers      PyGOD's DOMINANT and OCGNN
"""
