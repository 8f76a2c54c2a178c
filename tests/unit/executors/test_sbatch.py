from __future__ import annotations

import dataclasses
import re
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from flow_kit import toy_plan
from waiting import LIMIT_S, wait_until

from candor.cli.cluster_doctor import JobScripts
from candor.config.presets import list_presets
from candor.errors import ConfigError, PresetNotFound
from candor.executors import ray_allocation
from candor.executors.queue import QueueExecutor
from candor.executors.sbatch import SBATCH
from candor.executors.scheduler import scheduler_named
from candor.executors.scripts import ScriptContext, _end, again, job_name, render, supervised
from candor.executors.site import Request, SiteConfig, check_submittable, load_site, secrets_in
from candor.executors.worker_array import WorkerArray
from candor.flow.artifact import ArtifactStore
from candor.flow.run import Run

RUN = Path("/scratch/a röot 'x' $HOME/runs/toy-1234")
CONTEXT = ScriptContext(
    run=RUN,
    plan=RUN / "plan.json",
    logs=RUN / "slurm",
    roots={"CANDOR_RUN_ROOT": str(RUN.parent.parent)},
    venv="~/envs/candor",
)


def script(site: SiteConfig | None = None, request: Request | None = None, *tasks: str) -> str:
    elements = dict(enumerate(tasks or ("left",)))
    return render(CONTEXT, site or SiteConfig(), request or Request(), elements, words=SBATCH)


def directives(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]


def test_a_script_asks_for_what_the_request_says() -> None:
    request = Request(
        account="PAS1", partition="gpu", gpus=2, gpu_type="a100", cpus=8, memory_gb=1.5, time_limit_min=90
    )
    told = directives(script(None, request))
    for line in (
        "--account=PAS1",
        "--partition=gpu",
        "--gpus-per-node=a100:2",
        "--cpus-per-task=8",
        "--mem=1536M",
        "--time=01:30:00",
        "--signal=B:USR1@120",
        "--kill-on-invalid-dep=yes",
        "--requeue",
        f"--job-name={job_name(RUN, 'left')}",
        "--output=left-%j.out",
    ):
        assert line in told


def test_what_is_not_asked_for_is_left_to_the_cluster() -> None:
    told = " ".join(directives(script()))
    assert not any(word in told for word in ("--account", "--partition", "--mem", "--time", "gpu", "--array"))


def test_alike_tasks_are_an_array_with_a_cap() -> None:
    text = script(SiteConfig(array_limit=2), None, "first.s1", "first.s2", "first.s3")
    assert "--array=0,1,2%2" in directives(text)
    assert "1) task=first.s2;;" in text


@pytest.mark.parametrize("requeue", [True, False])
@pytest.mark.parametrize("tasks", [("left",), ("left", "right")])
def test_every_script_is_valid_shell(requeue: bool, tasks: tuple[str, ...]) -> None:
    site = SiteConfig(
        requeue=requeue, modules=("python/3.12",), setup=("ulimit -n 4096",), env={"A": "b 'c'"}
    )
    done = subprocess.run(
        ["bash", "-n"], input=script(site, None, *tasks), text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


#: Stands for a command that writes its checkpoint, for one that is still loading, and for one that ends by itself.
_COMMANDS = {
    "listens": "bash -c 'trap \"exit 130\" TERM; touch begun; while :; do sleep 0.05; done'",
    "loads": "{ touch begun; exec sleep 600; }",
    "fails": "{ touch begun; while [ ! -e warned ]; do sleep 0.05; done; exit 1; }",
}


#: What queues each kind of job anew where the site does not requeue.
_ENDS = {
    "task": lambda site: _end(site, SBATCH),
    "workers": lambda site: again(site, SBATCH, SBATCH.successor("tune")),
    "allocation": lambda site: again(site, SBATCH, ray_allocation._successor(site)),
}


@pytest.mark.parametrize("ending", _ENDS)
@pytest.mark.parametrize(("command", "anew"), [("listens", True), ("loads", True), ("fails", False)])
def test_warned_of_its_time_limit_a_job_is_queued_anew_unless_it_ended_by_itself(
    tmp_path: Path, command: str, anew: bool, ending: str
) -> None:
    site = SiteConfig(requeue=False)
    end = _ENDS[ending](site)
    stop = "touch warned" if command == "fails" else "kill -TERM $child"
    text = "\n".join(
        [
            "candor=(echo) logs=. plan=plan task=left script=left.sh samples=samples sampler=none CANDOR_JOB=7",
            "sample() { :; }; sbatch() { echo cluster resubmit; }",
            *supervised(_COMMANDS[command], stop=stop),
            *end,
        ]
    )
    with subprocess.Popen(["bash", "-c", text], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        wait_until((tmp_path / "begun").exists, "the command")
        process.send_signal(signal.SIGUSR1)
        told, _ = process.communicate(timeout=LIMIT_S)
    assert ("cluster resubmit" in told) == anew, told


def test_a_warning_that_comes_before_the_command_stops_it_too(tmp_path: Path) -> None:
    text = "\n".join([*supervised("sleep 600", warning=["kill -USR1 $$"]), "echo $warned $rc"])
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True, timeout=LIMIT_S)
    assert done.stdout.split() == ["1", "143"]


@pytest.mark.parametrize("early", [True, False])
def test_a_warning_stops_the_plan_on_ray_whether_or_not_it_has_begun(tmp_path: Path, early: bool) -> None:
    """Ray takes its time to start: the plan's process may have no number yet."""
    stop = ray_allocation._STOP
    text = "\n".join(
        [
            "logs=. job=7 head=localhost plan=plan candor=(sh -c 'touch begun; exec sleep 600')",
            *ray_allocation._SETUP,
            *(
                [stop, 'bash "$inside"']
                if early
                else ['bash "$inside" & while [ ! -e begun ]; do sleep 0.05; done', stop, "wait $!"]
            ),
            "echo ended with $?",
        ]
    )
    done = subprocess.run(
        ["bash", "-c", text], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=LIMIT_S
    )
    assert done.stdout.split()[-1] == "143"


def test_paths_with_odd_characters_reach_the_shell_whole() -> None:
    line = next(line for line in script().splitlines() if line.startswith("plan="))
    done = subprocess.run(
        ["bash", "-c", f'{line}; printf %s "$plan"'], text=True, capture_output=True, check=True
    )
    assert done.stdout == str(CONTEXT.plan)


def test_the_environment_is_named_as_the_node_sees_it() -> None:
    text = script(SiteConfig(modules=("python/3.12",)))
    assert "module load python/3.12 || fail" in text
    assert '. "$HOME/envs/candor/bin/activate" || fail' in text


def test_no_machine_path_but_the_roots_and_the_environment_stands_in_a_script() -> None:
    run = Path("/scratch/me/runs/toy-1234")
    plain = dataclasses.replace(
        CONTEXT, run=run, plan=run / "plan.json", logs=run / "slurm", roots={"A": "/scratch/me"}
    )
    text = render(plain, SiteConfig(modules=("python/3.12",)), Request(), {0: "left"}, words=SBATCH)
    paths = set(re.findall(r"(?<![\w$/}])/[\w./-]+", text))
    system = {"/bin/bash", "/dev/null", "/proc/stat", "/etc/profile"}
    assert {p for p in paths - system if not p.startswith("/scratch/me")} == set()


@pytest.mark.parametrize("name", list_presets("sites"))
def test_scripts_of_every_site_hold_no_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "WANDB_API_KEY": "wandb-0123456789",
        "HF_TOKEN": "hf_abcdefghij",
        "AWS_SECRET_ACCESS_KEY": "aws/abcdefg",
    }
    for variable, value in secrets.items():
        monkeypatch.setenv(variable, value)
    for kind, made in scripts(load_site(name)).items():
        text = made()
        assert secrets_in(text, secrets) == [], kind
        assert not any(value in text for value in secrets.values()), kind


def scripts(site: SiteConfig) -> dict[str, Callable[[], str]]:
    """Whatever Candor submits, as it is made for submission."""
    plan, run = toy_plan(), Run(RUN)
    on = site.scheduler or "slurm"
    scheduler = scheduler_named(on)
    store = ArtifactStore(RUN.parent / "cache")
    queue = QueueExecutor(store, site, CONTEXT.roots, scheduler=scheduler)
    study = dataclasses.replace(CONTEXT, run=RUN.parent / "study")
    return {
        "tasks": lambda: "".join(s.script for s in queue.scripts(plan, run, [t.id for t in plan.tasks])),
        "ray": lambda: ray_allocation.script(queue, run, nodes=1),
        "workers": lambda: WorkerArray(study, site, Request(), scheduler).text(4),
        "doctor": lambda: JobScripts(site, ["candor"], "", 0, on, "")({"run_root": str(RUN)}, "true"),
    }


@pytest.mark.parametrize("kind", ["tasks", "ray", "workers", "doctor"])
def test_no_kind_of_script_is_made_with_a_secret_in_it(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghij")
    site = SiteConfig(setup=("curl -H hf_abcdefghij https://example.org",))
    with pytest.raises(ConfigError, match="HF_TOKEN"):
        scripts(site)[kind]()


def test_a_secret_that_would_get_into_a_script_is_found() -> None:
    assert secrets_in("export A=hunter2hunter2", {"MY_PASSWORD": "hunter2hunter2"}) == ["MY_PASSWORD"]
    assert secrets_in("export A=" + shlex.quote("it's hunter2"), {"KAGGLE_KEY": "it's hunter2"}) == [
        "KAGGLE_KEY"
    ]


def test_a_site_refuses_to_write_what_looks_like_a_secret() -> None:
    with pytest.raises(ConfigError, match="looks like a secret"):
        load_site("generic", sets=["env.WANDB_API_KEY=abc"])


@pytest.mark.parametrize("value", ["a b", "x\n#SBATCH --uid=0", "$(id)"])
def test_a_value_cannot_smuggle_in_a_directive(value: str) -> None:
    with pytest.raises(ValueError, match="partition"):
        Request(partition=value)


def test_stages_that_want_gpus_get_the_sites_gpu_request() -> None:
    site = load_site("osc_ascend", sets=["defaults.account=PAS1", "stages.number.gpus=1"])
    left, total = (site.request(toy_plan().task(t)) for t in ("left", "total"))
    assert (left.gpus, left.time_limit_min, left.cpus) == (1, 240, 8)
    assert (total.gpus, total.time_limit_min, total.cpus) == (None, 60, 4)
    assert site.modules == ("python/3.12",)


def test_a_task_may_be_told_apart_from_its_stage() -> None:
    site = SiteConfig(stages={"number": Request(memory_gb=4), "right": Request(memory_gb=8)})
    assert [site.request(toy_plan().task(t)).memory_gb for t in ("left", "right", "total")] == [4, 8, None]


def test_a_users_own_site_is_one_file_that_states_differences(tmp_path: Path) -> None:
    folder = tmp_path / "presets/sites"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("extends: osc_pitzer\ndefaults: {account: PAS9, partition: gpudebug}\n")
    site = load_site("mine", data_root=tmp_path)
    assert (site.defaults.account, site.defaults.cpus, site.modules) == ("PAS9", 4, ("python/3.12",))
    check_submittable("mine", site)


def test_sites_that_extend_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "presets/sites"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text("extends: b\n")
    (folder / "b.yaml").write_text("extends: a\n")
    with pytest.raises(ConfigError, match="a → b → a"):
        load_site("a", data_root=tmp_path)


def test_a_site_of_another_scheduler_is_refused_with_the_words_that_work() -> None:
    site = load_site("imperial_cx3")
    with pytest.raises(ConfigError, match="runs PBS") as e:
        check_submittable("imperial_cx3", site, "slurm")
    assert "--on pbs --site imperial_cx3" in str(e.value)
    check_submittable("imperial_cx3", site, "pbs")
    for on in ("slurm", "pbs"):
        check_submittable("generic", load_site("generic"), on)


def test_a_site_that_charges_wants_an_account() -> None:
    with pytest.raises(ConfigError, match=r"defaults\.account"):
        check_submittable("osc_pitzer", load_site("osc_pitzer"))


def test_an_unknown_site_names_the_nearest() -> None:
    with pytest.raises(PresetNotFound, match="osc_ascend"):
        load_site("osc_ascent")


@pytest.mark.parametrize(("where", "told"), [("none", 0), ("scratch", 1), ("tmpdir", 1)])
def test_a_site_says_where_its_tasks_read_from(where: str, told: int) -> None:
    text = script(SiteConfig.model_validate({"stage_in": where}))
    assert text.count(f"export CANDOR_STAGE_IN={where}\n") == told
    assert ("CANDOR_STAGE_IN" in text) == bool(told)
