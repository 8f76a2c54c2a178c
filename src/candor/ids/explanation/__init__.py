"""Which nodes, edges and features of a window made a detector decide as it did.

Files:
    choose       which windows are worth explaining
    importance   GNNExplainer, attention and fidelity of one window (needs torch)
    stage        the stage function `explain`
"""
