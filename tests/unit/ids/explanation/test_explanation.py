"""Explanations: the right windows, tables that belong together, and named features that matter more than random ones."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tiny_world import TinyWorld, output

from candor.errors import DataError, NotFound
from candor.flow.stage import Inputs
from candor.ids.captures.frames import MAX_STANDARD_ID
from candor.ids.config import ExplainTask, GatConfig, MlpConfig, TemporalConfig, VgaeConfig
from candor.ids.explanation.choose import choose
from candor.ids.explanation.classifier import ClassifierSubject
from candor.ids.explanation.fidelity import fidelity
from candor.ids.explanation.fused import verdict
from candor.ids.explanation.importance import explain_window
from candor.ids.explanation.stage import explain
from candor.ids.fusion.gradient import MlpFusion
from candor.ids.fusion.policy import Policy
from candor.ids.fusion.states import STATE_FIELDS, AnomalyScale, raw_vgae_view, view_windows
from candor.ids.models.gat import Gat
from candor.ids.models.store import save_model
from candor.ids.models.temporal import Temporal
from candor.ids.models.vgae import Vgae
from candor.ids.payload import VARIANT
from candor.ids.pipeline.explanation import LABEL_FREE
from candor.ids.scoring import score_frame, window_rows
from candor.ids.temporal import score_windows
from candor.ids.training import scoring_batches
from candor.learn.batching import GraphBatch
from candor.learn.checkpoints import save_weights
from candor.report.graph import Edge, Node, graph_picture

TASK = ExplainTask(variant="student", seed=1, detector="gat", top=6, steps=30, random_drops=10)


@pytest.fixture(scope="module")
def trained(world: TinyWorld) -> Gat:
    """A small classifier after a few steps on all training windows."""
    torch.manual_seed(0)
    config = GatConfig.model_validate({"hidden": 16, "layers": 2, "dropout": 0.0})
    model = Gat(config, world.inputs(config.inputs))
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    store = world.store("train")
    batch = GraphBatch.of(store.gather(np.arange(len(store))))
    for _ in range(40):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(batch).logits_GC, batch.y).backward()
        optimiser.step()
    return model.eval()


@pytest.fixture(scope="module")
def encoder(world: TinyWorld) -> Vgae:
    """A small autoencoder after some steps on benign training windows."""
    torch.manual_seed(0)
    config = VgaeConfig.model_validate({"hidden": 16, "layers": 2, "latent": 8})
    model = Vgae(config, world.inputs(config.inputs))
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    store = world.store("train")
    batch = GraphBatch.of(store.gather(np.flatnonzero(store.y_G == 0)))
    for _ in range(60):
        optimiser.zero_grad()
        model.loss(model(batch)).backward()
        optimiser.step()
    return model.eval()


@pytest.fixture(scope="module")
def scale(world: TinyWorld, encoder: Vgae) -> AnomalyScale:
    store = world.store("val")
    batch = GraphBatch.of(store.gather(np.flatnonzero(store.y_G == 0)))
    with torch.no_grad():
        errors = raw_vgae_view(encoder, encoder(batch), batch)[:, :3].numpy()
    return AnomalyScale.fit(errors, (1.0, 0.0, 0.0), 0.999, 2.5)


@pytest.fixture(scope="module")
def artifacts(
    world: TinyWorld,
    trained: Gat,
    encoder: Vgae,
    scale: AnomalyScale,
    tmp_path_factory: pytest.TempPathFactory,
) -> Inputs:
    """What the stage reads, as a run would leave it; the fusion trusts by the state, with a network never trained."""
    root = tmp_path_factory.mktemp("explain")
    for name in ("gat", "vgae", "fusion", "temporal", "evaluate"):
        (root / name).mkdir()
    save_model(root / "gat", trained, world.build_train)
    save_model(root / "vgae", encoder, world.build_train)
    torch.manual_seed(1)
    policy = MlpFusion(MlpConfig())
    save_weights(root / "fusion" / "weights.safetensors", policy)
    (root / "fusion" / "model.json").write_text(policy.config.model_dump_json())
    (root / "fusion" / "anomaly_scale.json").write_text(json.dumps(asdict(scale)))
    sequence = Temporal(TemporalConfig(windows=3, hidden=16), world.inputs()).eval()
    save_model(root / "temporal", sequence, world.build_train)
    store = world.store("test")
    views = view_windows(encoder, trained, scoring_batches(store), len(store), torch.device("cpu"))
    gat, vgae = views.gat_probability, views.anomaly_probability(scale)
    scores = {
        "gat": gat,
        "vgae": views.anomaly(scale),
        "fusion": policy.fuse(views.states(scale), gat, vgae),
        "temporal": score_windows(sequence, store.path, torch.device("cpu")),
    }
    rows = window_rows(world.build_test / "test", "test")
    tables = []
    for name, score in scores.items():
        threshold = float(
            np.quantile(score[store.y_G == 0], 0.9)
        )  # Some false alarms, to have them explained.
        tables.append(
            score_frame(rows, score, detector=name, variant="student", seed=1).with_columns(
                pl.lit(threshold).alias("threshold"),
                (pl.col("score") >= threshold).cast(pl.UInt8).alias("prediction"),
            )
        )
    pl.concat(tables).write_parquet(root / "evaluate" / "predictions.parquet")
    paths = {name: root / name for name in ("gat", "vgae", "fusion", "temporal", "evaluate")}
    return Inputs(paths | {"ingest": world.ingest, "build_test": world.build_test})


def test_the_tables_of_a_window_belong_together_and_the_page_says_what_drove_it(
    artifacts: Inputs, tmp_path: Path
) -> None:
    out = output(tmp_path)
    told = explain(TASK, artifacts, out).summary
    windows = pl.read_parquet(out.path / "windows.parquet")
    nodes, edges = (pl.read_parquet(out.path / f"{n}.parquet") for n in ("nodes", "edges"))
    features = pl.read_parquet(out.path / "features.parquet")
    assert {"true alarm", "false alarm"} <= set(windows["kind"])
    assert len(windows) <= TASK.top
    for w in windows.iter_rows(named=True):
        here = {"capture": w["capture"], "window": w["window"]}
        names = set(nodes.filter(**here)["name"])
        own = edges.filter(**here)
        assert set(own["source"]) | set(own["target"]) <= names
        assert own["importance"].is_between(0, 1).all()
        assert set(features.filter(**here)["name"]) <= names
        ET.parse(out.path / "graphs" / f"{w['capture']}-{w['window']}.svg")
    html = (out.path / "index.html").read_text()
    assert "driven by" in html
    assert "False alarm" in html
    assert re.search(r"[+-]\d+\.\d sd", html)
    assert_faithful(told["fidelity"], "classifier", "edges of the masks", "nodes")


def assert_faithful(fidelity: Any, answers: str, *more: str) -> None:
    for what in ("edges", "features", *more):
        found = fidelity[answers]["of"][what]
        assert found["named_lost"] > found["random_lost"]


def explained(detector: str, artifacts: Inputs, folder: Path) -> tuple[Any, pl.DataFrame, Path]:
    """(fidelity, windows, folder of the artifact)."""
    out = output(folder)
    told = explain(TASK.model_copy(update={"detector": detector}), artifacts, out).summary
    return told["fidelity"], pl.read_parquet(out.path / "windows.parquet"), out.path


def test_the_autoencoder_is_explained_by_its_own_errors(
    artifacts: Inputs, encoder: Vgae, world: TinyWorld, tmp_path: Path
) -> None:
    fidelity, windows, folder = explained("vgae", artifacts, tmp_path)
    assert set(windows["answers"]) == {"autoencoder"}
    assert {"true alarm", "false alarm", "missed"} <= set(windows["kind"])
    assert_faithful(fidelity, "autoencoder")
    nodes, features = (pl.read_parquet(folder / f"{n}.parquet") for n in ("nodes", "features"))
    assert nodes["importance"].to_list() == pytest.approx(nodes["vgae_error"].to_list(), rel=1e-5)
    for w in windows.iter_rows(named=True):
        here = {"capture": w["capture"], "window": w["window"]}
        assert w["margin"] == pytest.approx(w["score"], rel=1e-3, abs=1e-3)  # It is the score itself.
        own = nodes.filter(**here).sort("importance", descending=True)
        worst = own["name"].head(encoder.config.worst_nodes).to_list()
        cells = features.filter(**here).filter(pl.col("effect") > 0)
        assert set(cells["name"]) <= set(worst)
        assert cells["effect"].sum() == pytest.approx(
            own["importance"].head(encoder.config.worst_nodes).mean(), rel=1e-5
        )
        assert "expected" in w["driven_by"]
    html = (folder / "index.html").read_text()
    assert "The autoencoder leans to attack; most of its error:" in html
    assert "autoencoder, edges of the errors" in html


def test_a_fused_decision_says_who_decided_and_what_set_the_weight(artifacts: Inputs, tmp_path: Path) -> None:
    _, windows, folder = explained("fusion", artifacts, tmp_path)
    state = pl.read_parquet(folder / "state.parquet")
    for w in windows.iter_rows(named=True):
        over = w["score"] - w["threshold"]
        assert w["gat_part"] + w["vgae_part"] == pytest.approx(over, abs=1e-4)
        parts = {"classifier": w["gat_part"], "autoencoder": w["vgae_part"]}
        sign = 1 if over >= 0 else -1
        assert sign * parts[w["answers"]] == max(sign * p for p in parts.values())
        own = state.filter(capture=w["capture"], window=w["window"])
        assert own["field"].to_list()[:15] == list(STATE_FIELDS)
        moved = (own["weight_without"] - w["fusion_weight"]).abs()[:15]
        assert w["weight_set_by"].startswith(STATE_FIELDS[int(moved.arg_max() or 0)])
    html = (folder / "index.html").read_text()
    assert re.search(r"the (classifier|autoencoder) decided \([+-]\d\.\d\d of [+-]\d\.\d\d", html)


def test_the_temporal_detector_is_explained_on_the_window_it_judges(
    artifacts: Inputs, tmp_path: Path
) -> None:
    fidelity, windows, folder = explained("temporal", artifacts, tmp_path)
    assert set(windows["answers"]) == {"temporal"}
    assert "edges of the masks" not in fidelity["temporal"]["of"]
    for shares in windows["window_share"].to_list():
        assert len(shares) == 3
        assert sum(shares) == pytest.approx(1, abs=1e-3)
    assert "Attention over the windows up to this one" in (folder / "index.html").read_text()
    assert pl.read_parquet(folder / "state.parquet").is_empty()


def test_the_payload_detector_is_explained_by_the_id_and_view_it_names(
    artifacts: Inputs, world: TinyWorld, tmp_path: Path
) -> None:
    assert VARIANT == LABEL_FREE
    rows = window_rows(world.build_test / "test", "test")
    store, rng = world.store("test"), np.random.default_rng(0)
    key = int(store.gather([0]).node_id_N[0])
    (tmp_path / "score").mkdir()
    causes = rows.with_columns(
        split=pl.lit("test"),
        node_id=pl.lit(key, pl.Int64),
        view=pl.when(pl.col("y") == 1).then(pl.lit("step")).otherwise(pl.lit("value")),
    )
    causes.write_parquet(tmp_path / "score" / "causes.parquet")
    score = store.y_G + rng.random(len(store)) * 1.2
    judged = score_frame(rows, score, detector="payload", variant=VARIANT).with_columns(
        threshold=pl.lit(1.0), prediction=(pl.col("score") >= 1.0).cast(pl.UInt8)
    )
    (tmp_path / "evaluate").mkdir()
    judged.write_parquet(tmp_path / "evaluate" / "predictions.parquet")
    kept = {name: artifacts.path(name) for name in ("ingest", "build_test")}
    inputs = Inputs({**kept, "evaluate": tmp_path / "evaluate", "score_payload": tmp_path / "score"})
    task = TASK.model_copy(update={"detector": "payload", "variant": VARIANT, "seed": 0})
    out = output(tmp_path)
    assert explain(task, inputs, out).summary["fidelity"] == {}
    windows = pl.read_parquet(out.path / "windows.parquet")
    assert {"true alarm", "false alarm"} <= set(windows["kind"])
    for kind, driven in windows.select("kind", "driven_by").iter_rows():
        assert driven == f"{'value' if kind == 'false alarm' else 'step'} of bytes of 0x{key:X}"
    assert "The payload detector leans to attack; driven by: step" in (out.path / "index.html").read_text()


def test_the_part_of_who_is_overruled_never_decides() -> None:
    """A policy that trusts the autoencoder wholly lets it decide, for alarms and against them."""

    class Trusting(Policy):
        def weight(self, states_GS: Any, gat_G: Any, vgae_G: Any) -> Any:
            return np.zeros(len(states_GS))

    state = np.zeros(len(STATE_FIELDS))
    for gat, vgae in ((0.1, 0.9), (0.9, 0.1)):
        found = verdict(Trusting(), state, gat, vgae, 0.5)
        assert (found.decider, found.gat_part) == ("vgae", 0.0)
        assert found.vgae_part == pytest.approx(vgae - 0.5)
        assert found.telling() == []  # It looks at no state.


def test_with_a_dbc_tables_pictures_and_the_page_say_names(
    artifacts: Inputs, world: TinyWorld, tmp_path: Path, needs: Callable[[bool, str], None]
) -> None:
    needs(find_spec("cantools") is not None, "cantools (candor[dbc])")
    known = sorted({int(k) for k in world.store("test").node_id_N if int(k) <= MAX_STANDARD_ID})
    messages = "".join(
        f"BO_ {k} ENGINE_{k:X}: 8 E\n"
        + "".join(f' SG_ Engine{k:X}RPM{b} : {8 * b}|8@1+ (1,0) [0|255] "" E\n' for b in range(8))
        for k in known
    )
    (tmp_path / "car.dbc").write_text(f'VERSION ""\nBS_:\nBU_: E\n{messages}')
    out = output(tmp_path / "out")
    explain(TASK.model_copy(update={"dbc": str(tmp_path / "car.dbc")}), artifacts, out)
    features = pl.read_parquet(out.path / "features.parquet").filter(pl.col("id").is_in(known))
    told = features.select("id", "name", "feature", "signal").unique()
    for key, name, feature, signal in told.iter_rows():
        assert name == f"ENGINE_{key:X} (0x{key:X})"
        byte = re.fullmatch(r"byte_(\d)_mean", feature)
        assert signal == (f"Engine{key:X}RPM{byte[1]}" if byte else "")
    assert (told["signal"] != "").any()
    shown = pl.read_parquet(out.path / "windows.parquet").row(0, named=True)
    picture = (out.path / "graphs" / f"{shown['capture']}-{shown['window']}.svg").read_text()
    assert "ENGINE_" in picture
    assert "ENGINE_" in (out.path / "index.html").read_text()


def test_a_forged_id_is_what_drives_the_alarm_on_flooding(world: TinyWorld, trained: Gat) -> None:
    store = world.store("test")
    family = store.meta["attacks"].index("flooding")
    index = int(np.flatnonzero(store.attack_G == family)[3])
    graph = store.gather([index])
    found = explain_window(ClassifierSubject(trained, GraphBatch.of(graph)), TASK, np.random.default_rng(0))
    assert found.decided == 1
    assert found.lost.named_features > found.lost.random_features
    assert found.attention_E.sum() == pytest.approx(
        len(np.unique(graph.edge_index_2E[1])), rel=1e-4
    )  # A softmax over the edges into each node.
    again = explain_window(ClassifierSubject(trained, GraphBatch.of(graph)), TASK, np.random.default_rng(0))
    np.testing.assert_array_equal(found.feature_ND, again.feature_ND)


def test_the_masks_name_edges_and_nodes_that_hurt_more_than_random_ones(
    world: TinyWorld, trained: Gat
) -> None:
    """Of windows of either decision, over many random draws; PyG's own penalties named edges no better than by chance."""
    store = world.store("test")
    alarms, quiet = (np.flatnonzero(store.y_G == y)[::9][:6] for y in (1, 0))
    task = TASK.model_copy(update={"steps": 100})
    rows = []
    for index in np.concatenate([alarms, quiet]).tolist():
        subject = ClassifierSubject(trained, GraphBatch.of(store.gather([index])))
        found = explain_window(subject, task, np.random.default_rng(index))
        lost = {f"{name}_lost": value for name, value in asdict(found.lost).items()}
        rows.append({"answers": "classifier", "margin": found.margin, **lost})
    told = fidelity(rows)["classifier"]["of"]
    for what in ("edges of the masks", "nodes", "features"):
        assert told[what]["low"] > 0, what
    assert told["edges of the masks"]["share_hurting_more"] > 0.8


def test_what_nothing_hangs_on_is_not_important(world: TinyWorld, trained: Gat) -> None:
    """Features at the benign mean have no effect whatever their mask; a classifier that drops all messages uses no edge."""
    batch = GraphBatch.of(world.store("test").gather([0]))
    found = explain_window(ClassifierSubject(trained, batch), TASK, np.random.default_rng(0))
    assert (found.feature_ND[found.x_ND == 0] == 0).all()
    deaf = Gat(trained.config, world.inputs(trained.config.inputs)).eval()
    deaf.load_state_dict(trained.state_dict())
    with torch.no_grad():
        for conv in deaf.convs.convs:
            conv.lin_l.weight.zero_()
            conv.lin_l.bias.zero_()
    silent = explain_window(ClassifierSubject(deaf, batch), TASK, np.random.default_rng(0))
    assert (silent.edge_E == 0).all()
    assert silent.lost.all_edges == pytest.approx(0, abs=1e-4)


def test_an_explanation_leaves_the_model_as_it_was(world: TinyWorld, trained: Gat) -> None:
    batch = GraphBatch.of(world.store("test").gather([0]))
    before = trained(batch).logits_GC.detach().clone()
    inputs = trained.inputs
    explain_window(ClassifierSubject(trained, batch), TASK, np.random.default_rng(0))
    assert trained.inputs is inputs
    torch.testing.assert_close(trained(batch).logits_GC, before)


def predictions(flags: list[tuple[int, int, float]]) -> pl.DataFrame:
    """(truth, decision, score) of the windows of one capture."""
    n = len(flags)
    return pl.DataFrame(
        {
            "detector": ["gat"] * n,
            "variant": ["student"] * n,
            "seed": [1] * n,
            "scenario": ["s"] * n,
            "capture": ["c"] * n,
            "window": range(n),
            "t0": [float(i) for i in range(n)],
            "t1": [i + 0.9 for i in range(n)],
            "y": [y for y, _, _ in flags],
            "attack": ["dos" if y else "" for y, _, _ in flags],
            "score": [s for _, _, s in flags],
            "prediction": [p for _, p, _ in flags],
        }
    )


def test_missed_events_come_before_single_missed_windows() -> None:
    flags = [(0, 0, 0.1), (1, 1, 0.9), (1, 0, 0.2), (0, 1, 0.8), (1, 0, 0.3), (1, 0, 0.4), (0, 0, 0.0)]
    happened = pl.DataFrame(
        {"capture": ["c", "c"], "attack": ["dos", "dos"], "t_start": [1.0, 4.0], "t_end": [2.5, 5.5]}
    )
    got = choose(predictions(flags), happened, TASK)
    assert got.select("kind", "window").rows() == [
        ("true alarm", 1),
        ("false alarm", 3),
        ("missed", 5),  # The loudest window of the event that raised no alarm.
        ("missed", 2),
    ]


def test_a_window_that_several_missed_events_share_is_explained_once() -> None:
    happened = pl.DataFrame(
        {"capture": ["c", "c"], "attack": ["dos", "rpm"], "t_start": [1.0, 1.5], "t_end": [1.4, 1.8]}
    )
    got = choose(predictions([(0, 0, 0.1), (1, 0, 0.3), (1, 0, 0.2)]), happened, TASK)
    assert got.select("kind", "window").rows() == [("missed", 1), ("missed", 2)]


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        (1, ["true alarm"]),
        (2, ["false alarm", "missed"]),
        (3, ["true alarm", "false alarm", "missed"]),
        (5, ["true alarm"] * 3 + ["false alarm", "missed"]),
    ],
)
def test_no_more_windows_are_chosen_than_were_asked_for(top: int, expected: list[str]) -> None:
    flags = [(1, 1, 0.9)] * 4 + [(0, 1, 0.8)] * 3 + [(1, 0, 0.2)] * 3
    nothing = pl.DataFrame(schema={"capture": pl.String, "t_start": pl.Float64, "t_end": pl.Float64})
    got = choose(predictions(flags), nothing, TASK.model_copy(update={"top": top}))
    assert got["kind"].to_list() == expected


def test_a_window_that_is_asked_for_is_explained_or_refused_with_what_there_is() -> None:
    table = predictions([(0, 0, 0.1), (1, 1, 0.9)])
    nothing = pl.DataFrame(schema={"capture": pl.String, "t_start": pl.Float64, "t_end": pl.Float64})
    asked = TASK.model_copy(update={"windows": (("c", 0),)})
    assert choose(table, nothing, asked)["kind"].to_list() == ["quiet"]
    with pytest.raises(NotFound, match="c has 0 to 1"):
        choose(table, nothing, TASK.model_copy(update={"windows": (("c", 7),)}))
    with pytest.raises(NotFound, match="Captures: c"):
        choose(table, nothing, TASK.model_copy(update={"windows": (("d", 0),)}))
    with pytest.raises(DataError, match="Judged: gat student 1"):
        choose(table, nothing, TASK.model_copy(update={"detector": "gate"}))


def test_the_picture_names_nodes_and_marks_what_mattered() -> None:
    nodes = [Node("0x100 <a>", 0.1), Node("0x200", 1.0, attack=True), Node("0x300", 0.0)]
    svg = graph_picture(nodes, [Edge(0, 1, 0.9, 0.5), Edge(1, 0, 0.1), Edge(2, 2, 0.2)], label="x & y")
    root = ET.fromstring(svg)
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "0x100 <a>" in texts
    assert svg.count("<path") == 2
    assert "attacked" in svg


def test_long_names_make_the_picture_larger_and_are_cut_in_the_end() -> None:
    def box(name: str) -> list[float]:
        svg = ET.fromstring(graph_picture([Node("0x1", 0.1), Node(name, 1.0)], [], label="x"))
        return [float(part) for part in svg.attrib["viewBox"].split()]

    assert box("0x316") == [0, 0, 460, 460]
    low, _, width, _ = box("EngineControl (0x316)")
    assert low < 0
    assert width == pytest.approx(460 - 2 * low)
    assert box("E" * 200) == box("E" * 30)
    assert "E" * 25 + "…<" in graph_picture([Node("E" * 200, 1.0)], [], label="x")
