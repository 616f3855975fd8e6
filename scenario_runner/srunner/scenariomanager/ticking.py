"""Ticks behaviour trees by plain calls.

py_trees walks a tree with one generator per node and builds a message for its log at each, which costs more than most steps
of a scenario do. `tick` makes the same calls in the same order and leaves the same statuses behind.
"""

from __future__ import annotations

from py_trees.behaviour import Behaviour
from py_trees.common import ParallelPolicy, Status
from py_trees.composites import Parallel, Sequence
from py_trees.decorators import Decorator

PLAIN_POLICIES = (ParallelPolicy.SuccessOnAll, ParallelPolicy.SuccessOnOne)


class PlainDecorator(Decorator):
    """A decorator that `tick` asks to tick itself, for those that do more than `py_trees.decorators.Decorator`."""

    def tick_plainly(self) -> None:
        """What `tick` does, without a generator."""
        _tick_decorator(self)


def tick(node: Behaviour) -> None:
    """`Behaviour.tick_once` without generators. Kinds of nodes that are not known here are left to py_trees."""
    method = type(node).tick
    if method is Behaviour.tick:
        if node.status is not Status.RUNNING:
            node.initialise()
        _finish(node, node.update())
    elif isinstance(node, Parallel) and _is_plain_parallel(node):
        _tick_parallel(node)
    elif isinstance(node, Sequence) and _is_plain_sequence(node):
        _tick_sequence(node)
    elif isinstance(node, PlainDecorator):
        node.tick_plainly()
    else:
        node.tick_once()


def _is_plain_parallel(node: Parallel) -> bool:
    return type(node).tick is Parallel.tick and isinstance(node.policy, PLAIN_POLICIES) and bool(node.children)


def _is_plain_sequence(node: Sequence) -> bool:
    return type(node).tick is Sequence.tick and node.memory and bool(node.children)


def _finish(node: Behaviour, status: Status) -> None:
    """Take over the status that a step or a decorator has come to."""
    if status is not Status.RUNNING:
        if not isinstance(status, Status):
            node.logger.error(f"{node.name} returned {status!r}, which is no status; it counts as invalid")
            status = Status.INVALID
        node.stop(status)
    node.status = status


def _reset(children: list[Behaviour]) -> None:
    for child in children:
        if child.status is not Status.INVALID:
            child.stop(Status.INVALID)


def _tick_parallel(node: Parallel) -> None:
    children = node.children
    if node.status is not Status.RUNNING:
        _reset(children)
        node.current_child = None
        node.initialise()
    synchronise = node.policy.synchronise
    for child in children:
        if not (synchronise and child.status is Status.SUCCESS):
            tick(child)
    failed = succeeded = None
    all_succeeded = True
    for child in children:
        if child.status is Status.SUCCESS:
            succeeded = child
        else:
            all_succeeded = False
            if failed is None and child.status is Status.FAILURE:
                failed = child
    status, node.current_child = Status.RUNNING, children[-1]
    if failed is not None:
        status, node.current_child = Status.FAILURE, failed
    elif isinstance(node.policy, ParallelPolicy.SuccessOnAll):
        status = Status.SUCCESS if all_succeeded else status
    elif succeeded is not None:
        status, node.current_child = Status.SUCCESS, succeeded
    if status is not Status.RUNNING:
        node.stop(status)
    node.status = status


def _tick_sequence(node: Sequence) -> None:
    children = node.children
    index = 0
    if node.status is not Status.RUNNING:
        node.current_child = children[0]
        _reset(children)
        node.initialise()
    elif node.current_child is None:
        node.current_child = children[0]
    else:
        index = children.index(node.current_child)
    for child in children[index:]:
        tick(child)
        status = child.status
        if status is Status.RUNNING:
            node.status = status
            return
        if status is not Status.SUCCESS:
            node.stop(status)
            return
        if index + 1 < len(children):
            index += 1
            node.current_child = children[index]
    node.stop(Status.SUCCESS)


def _tick_decorator(node: Decorator) -> None:
    if node.status is not Status.RUNNING:
        node.initialise()
    tick(node.decorated)
    _finish(node, node.update())
