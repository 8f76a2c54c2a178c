"""Tasks that differ only in seed, dataset or shard go to the queue as one array."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from candor.flow.plan import Plan, PlannedTask


@dataclass(frozen=True)
class Batch:
    """Tasks of one submission.

    Attributes:
        elements: array index → task ID; a single task has index 0 and is no array.
        after: IDs of tasks that all elements wait for.
        paired: heads of batches whose element of the same index each element waits for.
    """

    elements: dict[int, str]
    after: tuple[str, ...] = ()
    paired: tuple[str, ...] = ()

    @property
    def head(self) -> str:
        """The first task; names the batch."""
        return next(iter(self.elements.values()))

    @property
    def is_array(self) -> bool:
        """Whether it is submitted as an array."""
        return len(self.elements) > 1


def batches(
    plan: Plan, todo: Collection[str], *, alike: Callable[[PlannedTask], object], queued: Collection[str] = ()
) -> list[Batch]:
    """Group the tasks ``todo`` so that every group can be one array, in an order in which they can be submitted.

    Elements share their stage and what ``alike`` says of them. For each input, either all of them wait for the same
    task, or the element of index i waits for the element of index i of one other array (SLURM's ``aftercorr``).

    Args:
        queued: tasks that are in the queue already; they are waited for, and not grouped.
    """
    depths = _depths(plan, todo)
    groups: dict[tuple[object, ...], list[PlannedTask]] = {}
    for task in plan.tasks:
        if task.id in todo:
            names = tuple(sorted(n for n, s in task.inputs.items() if s in todo))
            # One that waits for a queued task stays alone: who was submitted earlier has no index here.
            alone = task.id if any(s in queued for s in task.inputs.values()) else None
            signature = (depths[task.id], task.stage, alike(task), names, alone)
            groups.setdefault(signature, []).append(task)
    home: dict[str, str] = {}
    index: dict[str, int] = {}
    found = []
    # By depth, so that every source has its place before those who wait for it.
    for _, group in sorted(groups.items(), key=lambda pair: depths[pair[1][0].id]):
        for members in _compatible(group, todo, home, index):
            batch = _batch(members, todo, queued, home, index)
            for number, task_id in batch.elements.items():
                home[task_id], index[task_id] = batch.head, number
            found.append(batch)
    return found


def without_pairs(
    found: Collection[Batch], plan: Plan, todo: Collection[str], queued: Collection[str]
) -> list[Batch]:
    """The same for a scheduler in which no job can wait for one element of an array: such elements become single jobs."""
    by_id = {task.id: task for task in plan.tasks}
    awaited = {source for task_id in todo for source in by_id[task_id].inputs.values()}
    batches: list[Batch] = []
    for batch in found:
        if batch.is_array and not batch.paired and awaited.isdisjoint(batch.elements.values()):
            batches.append(batch)
            continue
        for task_id in batch.elements.values():
            sources = dict.fromkeys(by_id[task_id].inputs.values())
            after = tuple(s for s in sources if s in todo or s in queued)
            batches.append(Batch({0: task_id}, after))
    return batches


def _depths(plan: Plan, todo: Collection[str]) -> dict[str, int]:
    """How many tasks of ``todo`` follow each other up to each task."""
    depths: dict[str, int] = {}
    for task in plan.tasks:  # In plan order, every source comes first.
        depths[task.id] = max((depths[s] + 1 for s in task.inputs.values() if s in todo), default=0)
    return depths


def _compatible(
    group: list[PlannedTask], todo: Collection[str], home: dict[str, str], index: dict[str, int]
) -> list[list[PlannedTask]]:
    """Split a group by where its sources lie, and into single tasks where indices do not pair up."""
    if len(group) == 1:
        return [group]
    names = [n for n, s in group[0].inputs.items() if s in todo]
    shared = {n for n in names if len({t.inputs[n] for t in group}) == 1}
    by_homes: dict[tuple[str, ...], list[PlannedTask]] = {}
    for task in group:
        homes = tuple(home[task.inputs[n]] for n in names if n not in shared)
        by_homes.setdefault(homes, []).append(task)
    found = []
    for members in by_homes.values():
        differing = [n for n in names if len({t.inputs[n] for t in members}) > 1]
        numbers = [{index[t.inputs[n]] for n in differing} for t in members]
        paired = all(len(n) == 1 for n in numbers) and len({next(iter(n)) for n in numbers}) == len(members)
        found += [members] if not differing or paired else [[t] for t in members]
    return found


def _batch(
    members: list[PlannedTask],
    todo: Collection[str],
    queued: Collection[str],
    home: dict[str, str],
    index: dict[str, int],
) -> Batch:
    after: dict[str, None] = {}
    paired: dict[str, None] = {}
    elements = {}
    for position, task in enumerate(members):
        number = position
        for name, source in task.inputs.items():
            if source not in todo and source not in queued:
                continue
            if all(t.inputs[name] == source for t in members):
                after[source] = None
            elif source in todo:
                paired[home[source]] = None
                number = index[source]
        elements[number] = task.id
    return Batch(elements, tuple(after), tuple(paired))
