"""Where a ladder ends: at an accuracy more than `delta` below that of the full network trained for as many epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.compress.climber import Means
from harness.compress.keys import CONTROL
from harness.errors import TrainError
from harness.records import DELTA_EXAMPLES, LadderRequest, Rung

if TYPE_CHECKING:  # it asks here where it ends
    from harness.compress.ladder import Climber

ROUNDING = 1e-9  # of a difference of fractions: 0.9 - 0.88 is more than 0.02, and no image is worth so little


def bound(climber: Climber) -> Callable[[Rung], str | None]:
    """Return a function that says of a rung why it is not part of the ladder any more, or None while it is.

    Accuracies are those of the whole validation part. The control `continue`, of which as many rungs are made as needed,
    is cached: all methods of equal epochs are held against the same one. Controls are cut by nothing.
    """
    means = climber.means
    allowed, images = means.request.delta, len(means.data.validation.labels) if means.trains else 0
    if allowed is None or means.control or not means.trains:
        return lambda _: None
    if images < DELTA_EXAMPLES:
        means.say(
            f"--delta {allowed:g} is not resolvable: it is judged on {images} images, fewer than {DELTA_EXAMPLES}"
        )
    control = _Control(climber)

    def judge(rung: Rung) -> str | None:
        try:
            of_control = control.accuracy(rung.epochs or 0)
        except TrainError as error:
            return f"rung {rung.rung} cannot be held against {CONTROL}: {error.message}"
        assert rung.accuracy_validation is not None
        lost = of_control - rung.accuracy_validation
        if lost <= allowed + ROUNDING:
            return None
        return (
            f"rung {rung.rung} is {100 * lost:.2f} points below {CONTROL} on the {images} validation images, "
            f"more than --delta {allowed:g}"
        )

    return judge


def equal(means: Means) -> LadderRequest:
    """Return the request for the control that trains exactly as long as each rung of this ladder has been trained."""
    first, each = means.budget.begin, means.budget.rung
    asked = replace(means.request, method=CONTROL, recipe={"begin": first}, delta=None, budget_epochs=None)
    rungs = Means(asked, means.on_progress).rungs
    return replace(asked, budget_epochs=first + each * rungs)


class _Control:
    """The full network, fine-tuned for as many epochs as a rung had."""

    def __init__(self, climber: Climber) -> None:
        means = Means(equal(climber.means), climber.means.on_progress)
        means.pace = None  # how far it will have to go, nobody knows
        self._climber = type(climber)(means, climber.kept)
        self._position = self._climber.first()

    def accuracy(self, epochs: int) -> float:
        """Validation accuracy of the first of its rungs that had at least so many epochs."""
        while (self._position.rung.epochs or 0) < epochs:
            following = self._climber.next(self._position)
            assert not isinstance(following, str)  # it never ends of itself
            self._position = following
        assert self._position.rung.accuracy_validation is not None
        return self._position.rung.accuracy_validation
