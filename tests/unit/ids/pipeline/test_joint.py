import pytest
from plan_kit import joint_plan

from candor.errors import ConfigError


def test_one_classifier_for_two_domains_shares_their_graphs_and_keeps_their_tables_apart(tmp_path, plan_of):
    plan = joint_plan(tmp_path)
    assert plan.task("synthetic.build_train").key == plan_of().task("build_train").key
    both = plan.task("joint.s1").inputs
    assert {both["build_train.synthetic"], both["build_train.unsw_nb15"]} == {
        "synthetic.build_train",
        "unsw_nb15.build_train",
    }
    assert both["audit.unsw_nb15"] == "unsw_nb15.audit"  # Nothing is trained before both gates.
    assert not any("build_test" in source for source in both.values())
    assert list(plan.task("synthetic.alone.s1").inputs) == ["build_train.synthetic", "audit.synthetic"]
    judged = plan.task("unsw_nb15.evaluate")
    assert judged.config["compare"] == [["joint", "alone"]]
    assert {name for name in judged.inputs if name.startswith("scores.")} == {
        "scores.joint.s1",
        "scores.alone.s1",
    }


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"names": ("synthetic",)}, "no two domains"),
        ({"variant": "pupil"}, "no variant 'pupil' on synthetic"),
    ],
)
def test_what_cannot_be_one_classifier_is_refused(tmp_path, asked, says):
    with pytest.raises(ConfigError, match=says):
        joint_plan(tmp_path, **asked)
    with pytest.raises(ConfigError, match="a batch budget is found for one data set"):
        joint_plan(tmp_path, "training.batch_budget=auto")
