"""One evaluator for any detector: windows, families and events, thresholds from validation only.

Files:
    truth       what happened: slices of test windows and their events, whatever a detector says
    alarms      from flagged windows to alarms: k of n, hysteresis, cooldown
    union       detectors OR-ed under one false-alarm budget
    timeline    events and false alarms of a stretch of traffic, at one threshold or at all of them
    draws       bootstrap draws of events and of false alarms, by capture
    measure     one detector on one slice
    effects     what one variant gains against another
    seeds       mean and spread over seeds
    stage       the stage function `evaluate`
    curve       the stage function `calibration_curve`
"""

from candor.ids.evaluation.stage import evaluate

__all__ = ["evaluate"]
