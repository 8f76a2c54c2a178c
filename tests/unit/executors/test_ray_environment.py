"""Which variables travel to the nodes of a Ray."""

from __future__ import annotations

from candor.executors.ray_environment import forwarded, travelling


def test_named_prefixes_travel_and_secrets_do_not() -> None:
    env = {
        "CANDOR_FORWARD": "HF_, MY_",
        "CANDOR_ROOT": "/scratch/me",
        "CANDOR_S3_SECRET": "hidden",
        "WANDB_API_KEY": "hidden",
        "HF_HOME": "/scratch/me/hf",
        "HF_TOKEN": "hidden",
        "OTHER": "1",
    }
    travels = travelling(env, forwarded(env))
    assert travels.keys() >= {"CANDOR_ROOT", "CANDOR_FORWARD", "HF_HOME", "CANDOR_CODE_VERSION"}
    assert not {"CANDOR_S3_SECRET", "WANDB_API_KEY", "HF_TOKEN", "OTHER"} & travels.keys()
