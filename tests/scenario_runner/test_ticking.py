"""Trees ticked by plain calls do what py_trees does with them."""

from __future__ import annotations

import logging
import random
from typing import Any

import pytest
from py_trees.behaviour import Behaviour
from py_trees.common import ParallelPolicy, Status
from py_trees.composites import Composite, Parallel, Selector, Sequence
from py_trees.decorators import FailureIsRunning, Inverter

from srunner.scenariomanager.ticking import PlainDecorator, tick

OUTCOMES = (Status.RUNNING,) * 4 + (Status.SUCCESS,) * 2 + (Status.FAILURE, Status.INVALID)


class Scripted(Behaviour):
    """Comes to one of its outcomes after the other and writes down what it is asked."""

    def __init__(self, name: str, outcomes: list[Any], book: list[str]) -> None:
        super().__init__(name)
        self._outcomes, self._book = outcomes, book
        self._next = 0

    def initialise(self) -> None:
        self._book.append(f"{self.name} begins")

    def update(self) -> Status:
        self._book.append(f"{self.name} steps")
        outcome: Status = self._outcomes[self._next % len(self._outcomes)]
        self._next += 1
        return outcome

    def terminate(self, new_status: Status) -> None:
        self._book.append(f"{self.name} ends {self.status} {new_status}")


class Counting(PlainDecorator):
    """Ends after a few ticks, whatever its child does."""

    def __init__(self, name: str, child: Behaviour) -> None:
        super().__init__(name, child)
        self._ticks = 0

    def update(self) -> Status:
        self._ticks += 1
        return Status.FAILURE if self._ticks % 5 == 0 else self.decorated.status


def grow(rng: random.Random, book: list[str], depth: int, path: str = "n") -> Behaviour:
    """A random tree; equal generators grow equal trees."""
    kind = rng.randrange(8) if depth else 0
    if kind <= 1:
        return Scripted(path, [rng.choice(OUTCOMES) for _ in range(rng.randint(1, 5))], book)
    if kind == 2:
        wrapper = rng.choice((Counting, Inverter, FailureIsRunning))
        return wrapper(path, grow(rng, book, depth - 1, path + "d"))
    children = [grow(rng, book, depth - 1, f"{path}{i}") for i in range(rng.randint(0, 3))]
    if kind <= 4:
        return Sequence(path, rng.random() < 0.8, children)
    if kind == 5:
        return Selector(path, False, children)
    policies = ParallelPolicy.SuccessOnOne(), ParallelPolicy.SuccessOnAll(rng.random() < 0.5)
    if children and rng.random() < 0.2:
        return Parallel(path, ParallelPolicy.SuccessOnSelected(children[:1], synchronise=False), children)
    return Parallel(path, rng.choice(policies), children)


def state_of(node: Behaviour) -> list[tuple[Any, ...]]:
    """Status and present child of every node."""
    current = node.current_child if isinstance(node, Composite) else None
    row = (node.name, node.status, current.name if current else None)
    return [row, *(line for child in node.children for line in state_of(child))]


def test_random_trees_make_the_same_calls_and_come_to_the_same_statuses() -> None:
    logging.disable(logging.ERROR)
    try:
        for seed in range(400):
            books: tuple[list[str], list[str]] = [], []
            ours, theirs = (grow(random.Random(seed), book, 4) for book in books)
            for round_ in range(12):
                tick(ours)
                theirs.tick_once()
                assert books[0] == books[1], (seed, round_)
                assert state_of(ours) == state_of(theirs), (seed, round_)
            ours.stop(Status.INVALID)
            theirs.stop(Status.INVALID)
            assert books[0] == books[1], seed
    finally:
        logging.disable(logging.NOTSET)


def test_what_is_no_status_counts_as_invalid() -> None:
    book: list[str] = []
    step = Scripted("step", ["done"], book)
    tick(step)
    assert step.status is Status.INVALID


def test_an_exception_comes_through() -> None:
    class Broken(Behaviour):
        def update(self) -> Status:
            raise LookupError("no lane")

    with pytest.raises(LookupError, match="no lane"):
        tick(Sequence("all", memory=True, children=[Broken("broken")]))
