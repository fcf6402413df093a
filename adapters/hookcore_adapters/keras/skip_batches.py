"""Skip the batches of an epoch that were trained before the run was cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import keras


def can_skip_batches() -> bool:
    """Return whether the backend gives its train function the data's iterator, so that another function can skip batches."""
    return bool(keras.backend.backend() == "tensorflow")


@attrs.define(eq=False)
class BatchSkipper:
    """Takes the place of the train function of `model` until `left` batches are skipped.

    `on_last_batch` is called with the last of them, and returns its logs; the others have no logs.
    """

    model: Any
    left: int
    on_last_batch: Callable[[Any], Mapping[str, Any]]
    _train_function: Any = None
    _batch: Any = None
    _logs: dict[str, Any] = attrs.field(factory=dict)

    def start(self) -> None:
        """Take the train function's place for one execution, if batches are left to skip."""
        if self.left:
            self._train_function, self.model.train_function = self.model.train_function, self

    def __call__(self, iterator: Any) -> Mapping[str, Any]:
        """Skip the batches of one execution."""
        self.stop()  # first, so that nothing stays in the model, whatever is raised
        try:
            for _ in range(min(self.left, int(self.model.steps_per_execution))):
                self._batch = next(iterator)
                self.left -= 1
        except StopIteration:
            # The epoch ends here, with the logs of the execution before.
            if self._batch is not None:
                self._logs.update(self.on_last_batch(self._batch))
            raise
        self._logs = {} if self.left else dict(self.on_last_batch(self._batch))
        return self._logs

    def stop(self) -> None:
        """Give the train function back, unless that has happened already."""
        if self._train_function is not None:
            self.model.train_function, self._train_function = self._train_function, None
