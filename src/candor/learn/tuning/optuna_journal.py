"""The journal in which workers of a study meet, as Optuna keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from candor.errors import ExtraMissing
from candor.learn.tuning.study import Study, StudyInfo

if TYPE_CHECKING:
    import optuna

#: A lock this old belongs to a worker that died: an append takes milliseconds.
_LOCK_GRACE_S = 30


def optuna_module() -> Any:
    """Optuna, quiet. Raises ExtraMissing."""
    try:
        import optuna
    except ImportError as e:
        raise ExtraMissing("Optuna is not installed", hint="pip install 'candor[tune]'.") from e
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_optuna(study: Study, info: StudyInfo, worker: int = 0) -> optuna.Study:
    """The study's journal, made if missing."""
    optuna = optuna_module()
    backend = optuna.storages.journal.JournalFileBackend(
        str(study.journal),
        lock_obj=optuna.storages.journal.JournalFileSymlinkLock(
            str(study.journal), grace_period=_LOCK_GRACE_S
        ),
    )
    with _quiet():
        made: Any = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name=info.study,
            pruner=_pruner(info),
            direction="minimize" if info.space.mode == "min" else "maximize",
            load_if_exists=True,
        )
    # A worker that takes up its work again would else draw the values that it began with.
    made.sampler = _sampler(info, worker, len(made.get_trials(deepcopy=False)))
    return made  # type: ignore[no-any-return]


def _sampler(info: StudyInfo, worker: int, known: int = 0) -> optuna.samplers.BaseSampler:
    """Tree-structured Parzen estimator (Bergstra et al. 2011). Trials under way count as poor ones, so that workers do
    not all try the same."""
    samplers = optuna_module().samplers
    seed = info.sampler_seed * 1000 + worker + 1_000_000 * known
    return samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)  # type: ignore[no-any-return]


def _pruner(info: StudyInfo) -> optuna.pruners.BasePruner:
    pruners = optuna_module().pruners
    if info.pruner == "median":
        return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)  # type: ignore[no-any-return]
    if info.pruner == "asha":
        return pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=3)  # type: ignore[no-any-return]
    return pruners.NopPruner()  # type: ignore[no-any-return]


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna calls options experimental that it has had for years."""
    import warnings

    optuna = optuna_module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
