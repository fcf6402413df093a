"""The pytest plugin of hookcore: fixtures for the tests of plugins and adapters.

pytest loads this module in every session, of whatever project, as soon as hookcore is installed. So it is a package of its own,
and imports nothing of hookcore until a fixture is used.

PYTEST_DONT_REWRITE: there is no assertion here, and a session in which it was imported before is no reason to warn.
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
    """Make an engine of the plugins that it is called with, and of no other: `hookcore_engine(Mine(), "early_stopping")`.

    Plugins that are installed for every run have no say in it.
    """
    from hookcore import Engine

    def engine(*plugins: object) -> Engine:
        return Engine(plugins, autoload=False)

    return engine


@pytest.fixture
def hookcore_trainee() -> ScriptedTrainee:
    """A trainee that needs no framework: a list of floats as weights, and a learning rate."""
    from hookcore.testing import ScriptedTrainee

    return ScriptedTrainee()


@pytest.fixture
def hookcore_run(hookcore_engine: Callable[..., Engine], hookcore_trainee: ScriptedTrainee) -> Callable[..., Run]:
    """Train `hookcore_trainee` with plugins on scripted metrics, and return the run: `hookcore_run([Mine()], [{"loss": 1.0}])`.

    * `plugins`: plugins, or an engine of them.
    * `epochs`: the metrics of each epoch; it ends earlier if a plugin votes to stop.
    * `batches`: the number of batches in an epoch, 1 by default, each of which is a step.
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
    """Make operations on the disk fail, and plugins that raise; the disk works again when the test is over."""
    from hookcore.testing import Faults

    faults = Faults()
    yield faults
    faults.clear()
