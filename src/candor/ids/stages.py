"""Stage name → function. Stages that train or score models import torch, and are loaded when one of them runs."""

from __future__ import annotations

from collections.abc import Mapping

from candor.flow.stage import GroupedStages, Stage


def _captures() -> Mapping[str, Stage]:
    from candor.ids.captures.flows.ingest import ingest_flows
    from candor.ids.captures.ingest import ingest
    from candor.ids.captures.synthetic.generate import generate

    return {"generate": generate, "ingest": ingest, "ingest_flows": ingest_flows}


def _graphs() -> Mapping[str, Stage]:
    from candor.ids.graphs.audit import audit
    from candor.ids.graphs.builder import build
    from candor.ids.graphs.calibration import calibrate
    from candor.ids.graphs.flow_audit import audit_flows
    from candor.ids.graphs.flow_builder import build_flows
    from candor.ids.graphs.statistics import profile

    return {
        "calibrate": calibrate,
        "build": build,
        "audit": audit,
        "profile": profile,
        "build_flows": build_flows,
        "audit_flows": audit_flows,
    }


def _simple_detectors() -> Mapping[str, Stage]:
    from candor.ids.baselines.learned import baselines
    from candor.ids.baselines.specialists import specialists
    from candor.ids.baselines.tabular import tabular_flows
    from candor.ids.controls import controls
    from candor.ids.flow_controls import controls_flows
    from candor.ids.frame_dynamics import fit_frame_dynamics, score_frame_dynamics
    from candor.ids.payload import fit_payload, score_payload

    return {
        "controls": controls,
        "controls_flows": controls_flows,
        "specialists": specialists,
        "baselines": baselines,
        "tabular_flows": tabular_flows,
        "payload": fit_payload,
        "score_payload": score_payload,
        "frame_dynamics": fit_frame_dynamics,
        "score_frame_dynamics": score_frame_dynamics,
    }


def _verdict() -> Mapping[str, Stage]:
    from candor.ids.evaluation import evaluate
    from candor.ids.evaluation.curve import calibration_curve
    from candor.report.site import report

    return {"evaluate": evaluate, "calibration_curve": calibration_curve, "report": report}


def _models() -> Mapping[str, Stage]:
    from candor.ids.budget import budget
    from candor.ids.detection import score
    from candor.ids.joint import score_joint, train_joint
    from candor.ids.temporal import score_temporal, train_temporal
    from candor.ids.training import train_autoencoder, train_curriculum, train_fusion

    return {
        "budget": budget,
        "autoencoder": train_autoencoder,
        "curriculum": train_curriculum,
        "fusion": train_fusion,
        "score": score,
        "temporal": train_temporal,
        "score_temporal": score_temporal,
        "joint": train_joint,
        "score_joint": score_joint,
    }


def _graph_baselines() -> Mapping[str, Stage]:
    from candor.ids.baselines.outliers import baselines_pygod

    return {"baselines_pygod": baselines_pygod}


def _explanation() -> Mapping[str, Stage]:
    from candor.ids.explanation.stage import explain

    return {"explain": explain}


STAGES: Mapping[str, Stage] = GroupedStages(
    {
        ("generate", "ingest", "ingest_flows"): _captures,
        ("calibrate", "build", "audit", "profile", "build_flows", "audit_flows"): _graphs,
        (
            "controls",
            "controls_flows",
            "specialists",
            "baselines",
            "tabular_flows",
            "payload",
            "score_payload",
            "frame_dynamics",
            "score_frame_dynamics",
        ): _simple_detectors,
        ("evaluate", "calibration_curve", "report"): _verdict,
        (
            "budget",
            "autoencoder",
            "curriculum",
            "fusion",
            "score",
            "temporal",
            "score_temporal",
            "joint",
            "score_joint",
        ): _models,
        ("baselines_pygod",): _graph_baselines,
        ("explain",): _explanation,
    }
)
