"""Stage name → function. Importing this module imports torch, so only what runs a task does."""

from __future__ import annotations

from collections.abc import Mapping

from candor.flow.stage import Stage
from candor.ids.baselines.learned import baselines
from candor.ids.baselines.outliers import baselines_pygod
from candor.ids.baselines.specialists import specialists
from candor.ids.baselines.tabular import tabular_flows
from candor.ids.budget import budget
from candor.ids.captures.flows.ingest import ingest_flows
from candor.ids.captures.ingest import ingest
from candor.ids.captures.synthetic.generate import generate
from candor.ids.controls import controls
from candor.ids.detection import score
from candor.ids.evaluation import evaluate
from candor.ids.evaluation.curve import calibration_curve
from candor.ids.explanation.stage import explain
from candor.ids.flow_controls import controls_flows
from candor.ids.graphs.audit import audit
from candor.ids.graphs.builder import build
from candor.ids.graphs.calibration import calibrate
from candor.ids.graphs.flow_audit import audit_flows
from candor.ids.graphs.flow_builder import build_flows
from candor.ids.graphs.statistics import profile
from candor.ids.joint import score_joint, train_joint
from candor.ids.payload import fit_payload, score_payload
from candor.ids.temporal import score_temporal, train_temporal
from candor.ids.training import train_autoencoder, train_curriculum, train_fusion
from candor.report.site import report

STAGES: Mapping[str, Stage] = {
    "generate": generate,
    "ingest": ingest,
    "calibrate": calibrate,
    "build": build,
    "audit": audit,
    "profile": profile,
    "controls": controls,
    "specialists": specialists,
    "baselines": baselines,
    "baselines_pygod": baselines_pygod,
    "budget": budget,
    "autoencoder": train_autoencoder,
    "curriculum": train_curriculum,
    "fusion": train_fusion,
    "score": score,
    "temporal": train_temporal,
    "score_temporal": score_temporal,
    "payload": fit_payload,
    "score_payload": score_payload,
    "evaluate": evaluate,
    "calibration_curve": calibration_curve,
    "report": report,
    "explain": explain,
    "ingest_flows": ingest_flows,
    "build_flows": build_flows,
    "audit_flows": audit_flows,
    "controls_flows": controls_flows,
    "tabular_flows": tabular_flows,
    "joint": train_joint,
    "score_joint": score_joint,
}
