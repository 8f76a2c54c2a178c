"""Stage name → function and config. Importing this module imports torch, so only what runs a task does."""

from __future__ import annotations

from collections.abc import Mapping

from candor.flow.task import StageEntry
from candor.ids import config as c
from candor.ids.captures.ingest import ingest
from candor.ids.captures.synthetic import generate
from candor.ids.controls import controls
from candor.ids.detection import score
from candor.ids.evaluation import evaluate
from candor.ids.graphs.audit import audit
from candor.ids.graphs.builder import build
from candor.ids.graphs.calibration import calibrate
from candor.ids.training import train_autoencoder, train_curriculum, train_fusion
from candor.report.site import report

STAGES: Mapping[str, StageEntry] = {
    "generate": StageEntry(generate, c.SyntheticConfig),
    "ingest": StageEntry(ingest, c.IngestConfig),
    "calibrate": StageEntry(calibrate, c.CalibrationConfig),
    "build": StageEntry(build, c.GraphConfig),
    "audit": StageEntry(audit, c.AuditConfig),
    "controls": StageEntry(controls, c.ControlsConfig),
    "autoencoder": StageEntry(train_autoencoder, c.AutoencoderTask),
    "curriculum": StageEntry(train_curriculum, c.CurriculumTask),
    "fusion": StageEntry(train_fusion, c.FusionTask),
    "score": StageEntry(score, c.ScoreTask),
    "evaluate": StageEntry(evaluate, c.EvaluationConfig),
    "report": StageEntry(report, c.ReportConfig),
}
