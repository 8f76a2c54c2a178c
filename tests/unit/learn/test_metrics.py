"""Metrics agree with scikit-learn where they are defined, and say why where they are not."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import LIMIT_S

from candor.learn.bootstrap import resample
from candor.learn.metrics import METRICS, NO_ATTACK, NO_BENIGN, NONE_FLAGGED, binary_metrics, ranking_metrics

sk = pytest.importorskip("sklearn.metrics")


@st.composite
def slices(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, float]:
    """Truth with both classes, few distinct scores (many ties), and a threshold."""
    n = draw(st.integers(2, 60))
    y = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    y[0], y[1] = 0, 1
    score = np.array(draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)), float)
    return y, score, draw(st.integers(-3, 4)) - 0.5


@settings(max_examples=150, deadline=None)
@given(slices())
def test_defined_metrics_equal_scikit_learn(case: tuple[np.ndarray, np.ndarray, float]) -> None:
    y, score, threshold = case
    flagged = score >= threshold
    got = binary_metrics(y, score, flagged)
    want = {
        "f1": sk.f1_score(y, flagged),
        "macro_f1": sk.f1_score(y, flagged, average="macro", labels=[0, 1], zero_division=0),
        "recall": sk.recall_score(y, flagged),
        "fpr": sk.recall_score(1 - y, flagged),
        "auroc": sk.roc_auc_score(y, score),
        "auc_pr": sk.average_precision_score(y, score),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if flagged.any():
            want["precision"] = sk.precision_score(y, flagged)
        if 0 < flagged.sum() < len(y):
            want["mcc"] = sk.matthews_corrcoef(y, flagged)
    for name in METRICS:
        value = got[name].value
        assert (value is None) == (name not in want)
        assert (value is None) == (got[name].reason is not None)
        if value is not None:
            assert value == pytest.approx(want[name], abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(slices(), st.integers(0, 2**31))
def test_a_replicate_equals_the_metric_of_the_repeated_windows(
    case: tuple[np.ndarray, np.ndarray, float], seed: int
) -> None:
    y, score, _ = case
    weight = np.random.default_rng(seed).integers(0, 4, len(y))
    weight[:2] += 1
    repeated_y, repeated_score = np.repeat(y, weight), np.repeat(score, weight)
    got = ranking_metrics(y, score, weight[None, :])
    assert got["auroc"][0] == pytest.approx(sk.roc_auc_score(repeated_y, repeated_score))
    assert got["auc_pr"][0] == pytest.approx(sk.average_precision_score(repeated_y, repeated_score))


def test_mcc_survives_counts_whose_product_overflows_int64() -> None:
    y = np.repeat([0, 1], 300_000)
    score = y.astype(float)
    assert binary_metrics(y, score, score > 0.5)["mcc"].value == pytest.approx(1.0)


def test_without_attacks_only_fpr_is_defined_and_the_reason_names_the_place() -> None:
    got = binary_metrics([0, 0, 0, 0], [0.1, 0.9, 0.2, 0.3], [0, 1, 0, 0], place=" in this scenario")
    assert got["fpr"].value == 0.25
    for name in ("f1", "precision", "recall", "mcc", "auroc", "auc_pr"):
        assert got[name].value is None
        assert got[name].reason == NO_ATTACK + " in this scenario"


def test_with_only_attacks_fpr_and_rankings_are_undefined() -> None:
    got = binary_metrics([1, 1, 1, 1], [0.1, 0.9, 0.2, 0.3], [0, 1, 0, 0])
    assert got["recall"].value == 0.25
    for name in ("fpr", "mcc", "auroc", "auc_pr"):
        assert got[name].reason == NO_BENIGN


def test_flagging_nothing_leaves_precision_undefined_and_f1_zero() -> None:
    got = binary_metrics([0, 1], [0.1, 0.2], [0, 0])
    assert got["precision"].reason == NONE_FLAGGED
    assert got["f1"].value == 0.0
    assert got["mcc"].value is None


def test_no_windows_gives_reasons_not_numbers() -> None:
    resamples = resample([], [], replicates=5, block_windows=3, rng=np.random.default_rng(0))
    assert all(e.value is None and e.reason for e in binary_metrics([], [], [], resamples=resamples).values())


@settings(max_examples=60, deadline=None)
@given(slices(), st.integers(1, 9))
def test_every_interval_holds_its_value_and_is_finite(
    case: tuple[np.ndarray, np.ndarray, float], block: int
) -> None:
    y, score, threshold = case
    draws = resample(y, y * 0, replicates=40, block_windows=block, rng=np.random.default_rng(1))
    for e in binary_metrics(y, score, score >= threshold, resamples=draws).values():
        if e.low is not None:
            assert e.value is not None
            assert e.high is not None
            assert np.isfinite([e.low, e.high]).all()
            assert e.low <= e.value <= e.high


def test_a_flawless_detector_is_not_given_a_certain_interval() -> None:
    y = np.repeat([0, 1], [400, 40])
    draws = resample(y, y * 0, replicates=100, block_windows=1, rng=np.random.default_rng(0))
    got = binary_metrics(y, y.astype(float), y, resamples=draws)
    assert got["recall"].low == pytest.approx(0.025 ** (1 / 40))  # Exact binomial bound for 40 of 40.
    assert got["fpr"].high == pytest.approx(1 - 0.025 ** (1 / 400))
    assert got["recall"].how == got["fpr"].how == "binomial"
    for name in ("f1", "precision", "recall", "mcc", "auroc", "auc_pr"):
        low = got[name].low
        assert low is not None
        assert 0.85 < low < 1.0


def test_a_blind_detector_is_not_given_a_certain_interval() -> None:
    y = np.repeat([0, 1], [40, 40])
    draws = resample(y, y * 0, replicates=50, block_windows=1, rng=np.random.default_rng(0))
    blind = binary_metrics(y, -y.astype(float), 1 - y, resamples=draws)
    assert blind["recall"].value == 0.0
    assert blind["recall"].high == pytest.approx(1 - 0.025 ** (1 / 40))
    assert blind["fpr"].low == pytest.approx(0.025 ** (1 / 40))


def test_metrics_load_without_torch() -> None:
    code = "import sys, candor.learn.metrics; assert not {'torch', 'sklearn', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=LIMIT_S)
