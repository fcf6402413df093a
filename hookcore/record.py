"""The record of a run that a checkpoint holds: what is written, and how a run takes it back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import attrs

from hookcore import state
from hookcore.errors import CheckpointError
from hookcore.run import Decision, Position, StopReason
from hookcore.validators import integer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hookcore.capture import Capture
    from hookcore.registry.inspection import Registered
    from hookcore.run import Run

logger = logging.getLogger("hookcore")

FORMAT: Final = 1


@attrs.frozen
class _Progress:
    """A `Progress` as it is read: checked, which one that counts batches cannot afford to be."""

    epoch: int = attrs.field(validator=integer(at_least=0))
    batch: int = attrs.field(validator=integer(at_least=0))
    step: int = attrs.field(validator=integer(at_least=0))


@attrs.frozen
class _Position:
    """A `Position` as it is read."""

    epoch: int = attrs.field(validator=integer(at_least=0))
    batch: int = attrs.field(validator=integer(at_least=0))
    begun: bool = attrs.field(validator=attrs.validators.instance_of(bool))


def record_of(
    run: Run, position: Position, plugins: Sequence[Registered], held: Sequence[tuple[str, str]], loop: Mapping[str, Any]
) -> str:
    """The JSON text of `run`: all that a resumed run needs, but for the snapshots.

    Raises `RegistrationError` where a plugin's state is not JSON-able.
    """
    return state.dumps(
        {
            "format": FORMAT,
            "progress": attrs.asdict(run.progress),
            "position": attrs.asdict(position),
            "history": run.history.state_dict(),
            "decisions": [attrs.asdict(decision) for decision in run.decisions],
            "stop_reasons": [attrs.asdict(vote) for vote in run.stop_reasons],
            "plugins": {
                registered.name: {
                    "type": registered.type_name,
                    "parameters": registered.parameters,
                    "state": registered.saved_state(),
                }
                for registered in plugins
            },
            "held": [list(pair) for pair in held],
            "loop": dict(loop),
        }
    )


def restore(capture: Capture, run: Run, plugins: Sequence[Registered]) -> tuple[Position, Mapping[str, Any]]:
    """Put `run` and `plugins` into the state of `capture`; returns where training goes on, and the loop's own state.

    A plugin set that has changed is reported: a new plugin begins with fresh state, what a missing one knew is left out, and a
    renamed one, told by its class, keeps its state. Raises `CheckpointError` for a record that does not hold what it should, with
    the trainee as it was.
    """
    where = run.resumed_from.path if run.resumed_from is not None else "the capture"
    try:
        record = state.loads(capture.record)
        if record["format"] != FORMAT:
            raise ValueError(f"its record has format {record['format']!r}, and this version of hookcore reads format {FORMAT}")  # noqa: TRY301 - told like all that can be wrong with it
        position = Position(**attrs.asdict(_Position(**record["position"])))
        progress = _Progress(**record["progress"])
        decisions = [Decision(**decision) for decision in record["decisions"]]
        votes = [StopReason(**vote) for vote in record["stop_reasons"]]
        own, *snapshots = capture.snapshots
        held = dict(zip(((owner, key) for owner, key in record["held"]), snapshots, strict=True))
        loop: Mapping[str, Any] = dict(record["loop"])
        run.history.load_state_dict(record["history"])
        names = _matched(record["plugins"], plugins)
        changed = {
            registered.name
            for registered in plugins
            if registered.name in names and _changed(registered, record["plugins"][names[registered.name]])
        }
        votes = _still_valid(votes, {old: name for name, old in names.items() if name not in changed})
        for registered in plugins:
            if registered.name in names:
                before = names[registered.name]
                mine = {key: snapshot for (owner, key), snapshot in held.items() if owner == before}
                _load(registered, record["plugins"][before]["state"], mine)
    except CheckpointError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"The run cannot be resumed from {where}: {error}.") from error
    run.trainee.restore(own)
    for name, value in attrs.asdict(progress).items():
        setattr(run.progress, name, value)
    run.decisions[:], run.stop_reasons[:] = decisions, votes
    logger.info("resumed from %s: on with epoch %d, batch %d", where, position.epoch + 1, position.batch + 1)
    return position, loop


def _matched(record: Mapping[str, Any], plugins: Sequence[Registered]) -> dict[str, str]:
    """The plugins that there were, by the name they have now. Says what is new, missing or renamed."""
    names = {registered.name: registered.name for registered in plugins if registered.name in record}
    new = [registered for registered in plugins if registered.name not in record]
    missing = [name for name in record if name not in names]
    for registered in list(new):
        alike = [name for name in missing if record[name]["type"] == registered.type_name]
        if len(alike) == 1 and sum(other.type_name == registered.type_name for other in new) == 1:
            names[registered.name] = alike[0]
            new.remove(registered)
            missing.remove(alike[0])
            logger.warning(
                "resumed: plugin %r is the earlier run's %r, by its class, and keeps its state", registered.name, alike[0]
            )
    for registered in new:
        logger.warning("resumed: plugin %r is new and begins with fresh state", registered.name)
    for name in missing:
        logger.warning("resumed: plugin %r of the earlier run is not there; what it knew is left out", name)
    return names


def _changed(registered: Registered, saved: Mapping[str, Any]) -> bool:
    """Whether the plugin's parameters are others now, and says which."""
    before, now = saved["parameters"], registered.parameters
    differing = [
        f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
        for name in sorted({*before, *now})
        if repr(before.get(name)) != repr(now.get(name))  # repr: NaN is NaN
    ]
    if differing:
        logger.warning("resumed: the parameters of plugin %r have changed: %s", registered.name, "; ".join(differing))
    return bool(differing)


def _still_valid(votes: Iterable[StopReason], valid: Mapping[str, str]) -> list[StopReason]:
    """The votes of the plugins in `valid`, which maps their names then to their names now."""
    kept = []
    for vote in votes:
        if vote.plugin in valid:
            logger.warning("resumed: the run was stopped by %s and stays so: %s", vote.plugin, vote.message)
            kept.append(attrs.evolve(vote, plugin=valid[vote.plugin]))
        else:
            logger.warning("resumed: the vote of %s to stop is dropped, as it is gone or changed: %s", vote.plugin, vote.message)
    return kept


def _load(registered: Registered, saved: Any, held: Mapping[str, Any]) -> None:
    try:
        if registered.initial_state is not None and saved is not None:
            registered.plugin.load_state_dict(saved)
        if held:
            registered.plugin.load_snapshots(held)
    except Exception as error:
        if not registered.is_observer:
            raise CheckpointError(
                f"Plugin {registered.name!r} cannot go on from the state that it had: {error!r}. It was {saved!r}."
            ) from error
        logger.warning(
            "resumed: plugin %r begins with fresh state, as it cannot go on from what it had: %r", registered.name, error
        )
        registered.plugin.load_state_dict(registered.initial_state)
