"""Which nodes, edges and features of a window made a detector decide as it did.

Files:
    choose       which windows are worth explaining
    importance   what is measured of any detector on one window, and fidelity (needs torch, like all below)
    classifier   the GAT: GNNExplainer and attention
    autoencoder  the VGAE: its reconstruction errors
    sequence     the temporal detector: gradients on its last window, attention over windows
    fused        a fused decision taken apart: who decided, and what set the weight
    causes       the payload detector, by what it says itself
    detectors    which of them answers for a decision
    fidelity     what dropping the named parts costs against random ones, over windows
    tables       rows of the tables
    stage        the stage function `explain`
"""
