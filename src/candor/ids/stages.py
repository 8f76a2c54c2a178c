"""Stage name → function. Importing this module imports torch, so only what runs a task does."""

from __future__ import annotations

from collections.abc import Mapping

from candor.flow.stage import Stage
from candor.ids.budget import budget
from candor.ids.captures.flows.ingest import ingest_flows
from candor.ids.captures.ingest import ingest
from candor.ids.captures.synthetic.generate import generate
from candor.ids.controls import controls
from candor.ids.detection import score
from candor.ids.evaluation import evaluate
from candor.ids.flow_controls import controls_flows
from candor.ids.graphs.audit import audit
from candor.ids.graphs.builder import build
from candor.ids.graphs.calibration import calibrate
from candor.ids.graphs.flow_audit import audit_flows
from candor.ids.graphs.flow_builder import build_flows
from candor.ids.graphs.statistics import profile
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
    "budget": budget,
    "autoencoder": train_autoencoder,
    "curriculum": train_curriculum,
    "fusion": train_fusion,
    "score": score,
    "evaluate": evaluate,
    "report": report,
    "ingest_flows": ingest_flows,
    "build_flows": build_flows,
    "audit_flows": audit_flows,
    "controls_flows": controls_flows,
}
