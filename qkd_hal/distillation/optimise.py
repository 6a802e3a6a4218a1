"""Minimum of a function of a few variables without derivatives; always the same answer."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Point = tuple[float, ...]
    Vertex = tuple[float, Point]

__all__ = ["minimise"]

_RESTARTS = 20
_value = itemgetter(0)


def minimise(
    function: Callable[[Sequence[float]], float],
    start: Sequence[float],
    *,
    step: float = 0.3,
    tolerance: float = 1e-7,
    most_steps: int = 800,
) -> tuple[Point, float]:
    """Return a local minimum of *function* near *start*, and its value there.

    The simplex search of Nelder and Mead (Computer Journal 7, 308, 1965), begun anew at its
    own result until that gains nothing: a simplex may collapse short of the minimum.
    """
    value, point = function(start), tuple(start)
    for _ in range(_RESTARTS):
        before = value
        value, point = _search(function, (value, point), step, tolerance, most_steps)
        if value >= before - tolerance * abs(before):
            break
    return point, value


def _search(
    function: Callable[[Sequence[float]], float],
    start: Vertex,
    step: float,
    tolerance: float,
    most_steps: int,
) -> Vertex:
    corners = [_moved(start[1], axis, step) for axis in range(len(start[1]))]
    simplex = [start, *((function(corner), corner) for corner in corners)]
    for _ in range(most_steps):
        simplex.sort(key=_value)
        if simplex[-1][0] - simplex[0][0] <= tolerance * abs(simplex[0][0]):
            break
        simplex = _improved(function, simplex)
    return min(simplex, key=_value)


def _moved(point: Point, axis: int, step: float) -> Point:
    return tuple(x + step * (i == axis) for i, x in enumerate(point))


def _improved(
    function: Callable[[Sequence[float]], float], simplex: Sequence[Vertex]
) -> list[Vertex]:
    *rest, worst = simplex
    centre = [sum(xs) / len(rest) for xs in zip(*(point for _, point in rest), strict=True)]

    def along(factor: float) -> Vertex:
        point = tuple(c + factor * (c - w) for c, w in zip(centre, worst[1], strict=True))
        return function(point), point

    mirrored = along(1.0)
    if mirrored[0] < rest[0][0]:
        return [*rest, min(mirrored, along(2.0), key=_value)]
    if mirrored[0] < rest[-1][0]:
        return [*rest, mirrored]
    inner = min(mirrored, along(0.5 if mirrored[0] < worst[0] else -0.5), key=_value)
    if inner[0] < worst[0]:
        return [*rest, inner]
    return [rest[0], *(_shrunk(function, rest[0], point) for _, point in simplex[1:])]


def _shrunk(function: Callable[[Sequence[float]], float], to: Vertex, point: Point) -> Vertex:
    middle = tuple((a + b) / 2 for a, b in zip(to[1], point, strict=True))
    return function(middle), middle
