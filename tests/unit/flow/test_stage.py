from __future__ import annotations

from candor.flow.stage import GroupedStages, LazyStages


def test_stages_are_loaded_when_one_is_first_looked_up_and_only_once() -> None:
    loads = []

    def load() -> dict[str, object]:
        loads.append(1)
        return {"add": print}

    stages = LazyStages(load)  # type: ignore[arg-type]
    assert loads == []
    assert "add" in stages
    assert "subtract" not in stages
    assert list(stages) == ["add"]
    assert loads == [1]


def test_a_group_of_stages_is_loaded_when_one_of_its_own_is_looked_up() -> None:
    loads = []

    def light() -> dict[str, object]:
        loads.append("light")
        return {"read": print, "write": repr}

    def heavy() -> dict[str, object]:
        loads.append("heavy")
        return {"train": len}

    stages = GroupedStages({("read", "write"): light, ("train",): heavy})  # type: ignore[arg-type]
    assert (list(stages), len(stages)) == (["read", "write", "train"], 3)
    assert "train" in stages
    assert "report" not in stages
    assert loads == []
    assert stages["write"] is repr
    assert loads == ["light"]
