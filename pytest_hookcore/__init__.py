"""The pytest plugin of hookcore: fixtures for the tests of plugins and adapters.

Once hookcore is installed, pytest loads this module in every session of every project. Therefore it is a separate package, and
imports hookcore only when a fixture is used.

PYTEST_DONT_REWRITE: there is no assertion here, and pytest need not warn if the module was imported before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from hookcore import Engine, Run
    from hookcore.testing import Faults, ScriptedTrainee

__all__ = ["hookcore_engine", "hookcore_faults", "hookcore_run", "hookcore_trainee"]


@pytest.fixture
def hookcore_engine() -> Callable[..., Engine]:
    """Return a function that makes an engine of the plugins that it is given: `hookcore_engine(Mine(), "early_stopping")`.

    Plugins that are installed for every run are left out.
    """
    from hookcore import Engine

    def engine(*plugins: object) -> Engine:
        return Engine(plugins, autoload=False)

    return engine


@pytest.fixture
def hookcore_trainee() -> ScriptedTrainee:
    """Return a trainee that needs no framework: a list of floats as weights, and a learning rate."""
    from hookcore.testing import ScriptedTrainee

    return ScriptedTrainee()


@pytest.fixture
def hookcore_run(hookcore_engine: Callable[..., Engine], hookcore_trainee: ScriptedTrainee) -> Callable[..., Run]:
    """Return a function that trains `hookcore_trainee` with plugins on scripted metrics, and returns the run.

    `run = hookcore_run([Mine()], [{"loss": 1.0}])`

    * `plugins`: plugins, or an engine of them.
    * `epochs`: the metrics of each epoch; the run ends earlier if a plugin votes to stop.
    * `batches`: the number of batches in an epoch, 1 by default. Each batch is one step.
    * `resume`: as for `Loop`.
    """

    def run(
        plugins: Iterable[object] | Engine, epochs: Sequence[Mapping[str, Any]], *, batches: int = 1, resume: Any = False
    ) -> Run:
        from hookcore import Engine
        from hookcore_adapters.loop import Loop

        engine = plugins if isinstance(plugins, Engine) else hookcore_engine(*plugins)
        with Loop(engine, epochs=len(epochs), steps_per_epoch=batches, trainee=hookcore_trainee, resume=resume) as loop:
            for epoch in loop.epochs():
                for _ in loop.batches(range(batches)):
                    pass
                loop.log(epochs[epoch])
        return loop.run

    return run


@pytest.fixture
def hookcore_faults() -> Iterator[Faults]:
    """Yield `Faults`: they make disk operations fail until the test is over, and make plugins that raise."""
    from hookcore.testing import Faults

    faults = Faults()
    yield faults
    faults.clear()
