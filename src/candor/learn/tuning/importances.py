"""Which parameters of a study mattered."""

from __future__ import annotations

from candor.learn.tuning.optuna_journal import optuna_module
from candor.learn.tuning.study import Study


def importances(study: Study) -> dict[str, float]:
    """Share of the metric's variance that each parameter explains (fANOVA, Hutter et al. 2014), largest first.

    Empty while fewer than four trials are complete or all came to the same.
    """
    optuna, info = optuna_module(), study.info()
    done = [t for t in study.trials() if t.state == "complete" and t.value is not None]
    if len(done) < 4 or len({t.value for t in done}) < 2:
        return {}
    memory = optuna.create_study(direction="minimize" if info.space.mode == "min" else "maximize")
    distributions = info.space.distributions()
    memory.add_trials(
        [
            optuna.trial.create_trial(params=dict(t.values), distributions=distributions, value=t.value)
            for t in done
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=info.sampler_seed)
    shares = optuna.importance.get_param_importances(memory, evaluator=evaluator)
    return {name: share for name, share in shares.items() if not distributions[name].single()}
