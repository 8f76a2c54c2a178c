"""One evaluator for any detector: windows, families and events, thresholds from validation only.

Files:
    truth       what happened: slices of test windows and their events, whatever a detector says
    timeline    events and false alarms of a stretch of traffic, at one threshold or at all of them
    measure     one detector on one slice
    seeds       mean and spread over seeds
    stage       the stage function `evaluate`
"""

from candor.ids.evaluation.stage import evaluate

__all__ = ["evaluate"]
