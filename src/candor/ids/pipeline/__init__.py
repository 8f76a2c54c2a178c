"""The pipeline of the intrusion-detection workload: which stage feeds which. Imports nothing heavy.

    generate* ─ ingest ─ calibrate ─┬─ build_train ─┬─ audit (gate) ─┬─ autoencoder ─ curriculum ─ fusion ─ score ─┐
                                    └─ build_test ──┴─ profile       ├─ controls ─────────────────────────────────┼─ evaluate ─ report
                                                                     ├─ payload† ── score_payload ─────────────────┤
                                                                     ├─ frame_dynamics† ── score_frame_dynamics ───┤
                                                                     └─ temporal† ── score_temporal ───────────────┘

    † only where the experiment states it.
    * only where the dataset is synthetic. Models of every variant and seed form their own lane. Beside ``controls`` stand
    ``specialists`` (which read the profiles too), ``baselines`` and, where asked for, ``baselines_pygod``. With
    ``training.batch_budget=auto`` a budget task for each model of a variant lies between build_train and its training.

A dataset of network flows goes the same way with stages of its own up to the graphs (ingest_flows, build_flows,
audit_flows, controls_flows) and without calibration; the tasks keep their names, and models do not know the difference.

What trains a model reads ``build_train`` alone; test windows first appear in ``score``.

Files:
    tasks        one task, at the version its stage has today
    data         from captures to graphs: gate, controls, baselines, the detectors of frames
    models       lanes: one for each variant and seed
    curve        the calibration curve
    experiment   the plan of a whole experiment
    explanation  that plan, and windows of it explained
    joint        one classifier over several data sets
"""

from candor.ids.pipeline.data import tabular
from candor.ids.pipeline.experiment import plan
from candor.ids.pipeline.explanation import with_explanation
from candor.ids.pipeline.tasks import VERSIONS

__all__ = ["VERSIONS", "plan", "tabular", "with_explanation"]
