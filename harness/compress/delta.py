"""Where a ladder ends: at an accuracy more than `delta` below that of the full network trained for as many epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.compress.climber import Means
from harness.records import Rung

RESOLVABLE = 2000  # images: below, the standard error of an accuracy is more than a percentage point
CONTROL = "continue"


def bound(means: Means) -> Callable[[Rung], str | None]:
    """Return a function that says of a rung why it is not part of the ladder any more, or None while it is.

    Accuracies are those of the whole validation part. The control `continue`, of which as many rungs are made as needed,
    is cached: all methods are held against the same one.
    """
    if means.request.delta is None or means.request.method == CONTROL or not means.trains:
        return lambda _: None
    allowed = means.request.delta
    control = _Control(means)

    def judge(rung: Rung) -> str | None:
        of_control = control.accuracy(rung.epochs or 0)
        assert rung.accuracy_validation is not None
        lost = of_control - rung.accuracy_validation
        if lost <= allowed:
            return None
        return (
            f"rung {rung.rung} is {100 * lost:.2f} points below {CONTROL} on the {len(means.data.validation.labels)} "
            f"validation images, more than --delta {allowed:g}"
        )

    return judge


class _Control:
    """The full network, fine-tuned for as many epochs as a rung had."""

    def __init__(self, means: Means) -> None:
        from harness.compress.ladder import Climber

        request = replace(means.request, method=CONTROL, recipe={}, delta=None)
        self._climber = Climber(Means(request, means.on_progress))
        self._position = self._climber.first()

    def accuracy(self, epochs: int) -> float:
        """Validation accuracy of the first of its rungs that had at least so many epochs, else of its last."""
        while (self._position.rung.epochs or 0) < epochs:
            following = self._climber.next(self._position)
            if following is None:
                break
            self._position = following
        assert self._position.rung.accuracy_validation is not None
        return self._position.rung.accuracy_validation
