from __future__ import annotations

from candor.flow.stage import LazyStages


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
