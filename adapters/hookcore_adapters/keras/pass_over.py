"""Batches that go by untrained, since they were trained before the run was cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import keras


def can_pass_over() -> bool:
    """Whether the backend's train function is given the data's iterator, so that another in its place can pass over some."""
    return bool(keras.backend.backend() == "tensorflow")


@attrs.define(eq=False)
class PassOver:
    """Stands in for the train function of `model` while `left` batches go by; `start` is for one execution.

    `then` is called with the last of them, and returns its logs; those before it have none.
    """

    model: Any
    left: int
    then: Callable[[Any], Mapping[str, Any]]
    _train: Any = None
    _batch: Any = None
    _logs: dict[str, Any] = attrs.field(factory=dict)

    def start(self) -> None:
        """Take the train function's place, in the beginning of an execution."""
        if self.left:
            self._train, self.model.train_function = self.model.train_function, self

    def __call__(self, iterator: Any) -> Mapping[str, Any]:
        """One execution, of one batch or more."""
        self.stop()  # first, so that nothing stays in the model, whatever is raised
        try:
            for _ in range(min(self.left, int(self.model.steps_per_execution))):
                self._batch = next(iterator)
                self.left -= 1
        except StopIteration:
            # The epoch ends here, with the logs of the execution before.
            if self._batch is not None:
                self._logs.update(self.then(self._batch))
            raise
        self._logs = {} if self.left else dict(self.then(self._batch))
        return self._logs

    def stop(self) -> None:
        """Give the train function back, where that has not happened yet."""
        if self._train is not None:
            self.model.train_function, self._train = self._train, None
