"""One task of the pipeline: its stage at the version that the stage has today."""

from __future__ import annotations

from candor.flow.plan import Resources, TaskSpec

#: Version of every stage: raise it when the same config and inputs give another artifact.
VERSIONS = {
    "generate": 1,
    "ingest": 2,
    "calibrate": 2,
    "build": 2,
    "audit": 3,
    "profile": 1,
    "controls": 2,
    "specialists": 1,
    "baselines": 1,
    "baselines_pygod": 2,
    "budget": 1,
    "autoencoder": 1,
    "curriculum": 1,
    "fusion": 2,
    "score": 2,
    "temporal": 2,
    "score_temporal": 1,
    "payload": 1,
    "score_payload": 1,
    "frame_dynamics": 2,
    "score_frame_dynamics": 1,
    "evaluate": 8,
    "calibration_curve": 3,
    "report": 6,
    "explain": 4,
    "ingest_flows": 2,
    "build_flows": 1,
    "audit_flows": 3,
    "controls_flows": 2,
    "tabular_flows": 3,
    "joint": 1,
    "score_joint": 1,
}


def make_task(task_id: str, stage: str, config: object, inputs: dict[str, str], *, cpus: int = 1) -> TaskSpec:
    """A task of ``stage``; ``inputs`` gives the task that each input comes from."""
    return TaskSpec(task_id, stage, VERSIONS[stage], config, inputs, Resources(cpus=cpus))  # type: ignore[arg-type]
