"""The record of a run in a checkpoint: how it is written, and how a run is restored from it."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

import attrs

from hookcore import record_schema, state
from hookcore.errors import CheckpointError
from hookcore.metrics import Metrics
from hookcore.raised import describe, interrupts, shortened
from hookcore.run_state import Decision, Position, StopReason
from hookcore.secrecy import HIDDEN, is_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hookcore.capture import Capture
    from hookcore.error_policy import ErrorPolicy
    from hookcore.registry.inspection import Registered
    from hookcore.run import Run
    from hookcore.trainee import Snapshot

logger = logging.getLogger("hookcore")


@attrs.frozen
class Restored:
    """What a loop continues from.

    * `metrics`: those of the open epoch so far; `fresh`: those since the latest observation.
    * `loop`: the loop's own state.
    * `logged`: what plugins have logged for the next observation.
    """

    position: Position
    metrics: Mapping[str, float]
    fresh: Mapping[str, float]
    loop: Mapping[str, Any]
    logged: Mapping[str, Any]


def record_of(
    run: Run,
    position: Position,
    plugins: Mapping[str, tuple[str, Any]],
    held: Sequence[tuple[str, str]],
    *,
    metrics: Mapping[str, float],
    fresh: Mapping[str, float],
    loop: Mapping[str, Any],
    logged: Mapping[str, Any],
) -> str:
    """Return the JSON text of everything that a resumed run needs, except the snapshots.

    * `plugins`: the class's name and the state of each plugin, by the plugin's name.
    * `held`: the plugin's name and the key of each snapshot that plugins hold, in the order of the snapshots.
    * `metrics`: those of the open epoch that the driver was told of so far; `fresh`: those since the latest observation.
    * `loop`: the adapter's own state, JSON-able.
    * `logged`: what plugins have logged for the next observation, JSON-able.
    """
    return state.dumps(
        {
            "format": record_schema.FORMAT,
            "progress": attrs.asdict(run.progress),
            "position": attrs.asdict(position),
            "steps_per_epoch": run.steps_per_epoch,
            "validation_prefixes": run.metric_names.validation,
            "history": run.history.state_dict(),
            "metrics": dict(metrics.items()),
            "fresh": dict(fresh.items()),
            "logged": dict(logged),
            "decisions": [attrs.asdict(decision) for decision in run.decisions],
            "stop_reasons": [attrs.asdict(vote) for vote in run.stop_reasons],
            "plugins": {
                name: {"type": type_name, "parameters": run.parameters[name], "state": saved}
                for name, (type_name, saved) in plugins.items()
            },
            "held": [list(pair) for pair in held],
            "loop": dict(loop),
        }
    )


def restore(
    capture: Capture, run: Run, plugins: Sequence[Registered], policy: ErrorPolicy, *, host: tuple[str, str | None]
) -> Restored:
    """Put `run` and `plugins` into the state of `capture`; return what the loop continues from.

    * `host`: the name of the loop, and the reason for which it may itself stop now, or None.

    If the capture is a record alone, the trainee does not change, and the snapshots that plugins held are lost.
    If the set of plugins has changed, the log names the difference: a new plugin begins with fresh state, the state of a missing
    one is left out, and a renamed one, recognised by its class, keeps its state. An observer that cannot load its state begins
    with fresh state; if that fails too, it is disabled. Raises `CheckpointError` if the record cannot be read or an actor cannot
    load its state; then the trainee is unchanged, and every plugin is in its state before the first run.
    """
    source = run.resumed_from.path if run.resumed_from is not None else "the capture"
    try:
        record = record_schema.read(capture.record)
        held = _held(record, capture.snapshots)
    except ValueError as error:
        raise CheckpointError(f"The run cannot be resumed from {source}: {error}.") from error
    saved_names = _match_plugins(record["plugins"], plugins)
    changed = {
        name
        for name, saved in saved_names.items()
        if _have_changed(name, record["plugins"][saved]["parameters"], run.parameters[name])
    }
    votes = [StopReason(**vote) for vote in record["stop_reasons"]]
    votes = _votes_to_keep(votes, {saved: name for name, saved in saved_names.items() if name not in changed}, host)
    begun = []
    try:
        for registered in plugins:
            if registered.name in saved_names:
                saved = saved_names[registered.name]
                begun.append(registered)
                _load(registered, record["plugins"][saved]["state"], held.get(saved, {}), policy)
        if capture.snapshots:
            run.trainee.restore(capture.snapshots[0])
    except BaseException:
        for registered in begun:  # their state, and the snapshots in it, belong to no run
            with contextlib.suppress(Exception):  # the first error is the one to raise
                registered.reset()
        raise
    run.history.load_state_dict(record["history"])
    for name, value in record["progress"].items():
        setattr(run.progress, name, value)
    for prefix in record["validation_prefixes"]:
        run.shared.metric_names = run.metric_names.adding(prefix)
    run.decisions[:], run.stop_reasons[:] = [Decision(**decision) for decision in record["decisions"]], votes
    if run.steps_per_epoch is None:
        run.shared.steps_per_epoch = record["steps_per_epoch"]
    position = Position(**record["position"])
    logger.info("resumed from %s, at epoch %d, batch %d", source, position.epoch + 1, position.batch + 1)
    return Restored(position, Metrics(record["metrics"]), Metrics(record["fresh"]), record["loop"], record["logged"])


def log_not_held(when: str, plugin: str, key: str) -> None:
    """Warn that `plugin` holds a snapshot of the trainee under `key`, which a record alone does not have."""
    logger.warning("%s: plugin %r holds a snapshot, %r, which a record alone does not have: it is lost", when, plugin, key)


def _held(record: Mapping[str, Any], snapshots: Sequence[Snapshot]) -> dict[str, dict[str, Snapshot]]:
    """Return the snapshots that each plugin held, by its name in `record`; `snapshots` begin with the trainee's own."""
    held: dict[str, dict[str, Snapshot]] = {}
    if not snapshots:
        for owner, key in record["held"]:
            log_not_held("resumed", owner, key)
        return held
    if len(record["held"]) != len(snapshots) - 1:
        raise ValueError(f"its record names {len(record['held'])} snapshots of plugins, and it has {len(snapshots) - 1}")
    for (owner, key), snapshot in zip(record["held"], snapshots[1:], strict=True):
        held.setdefault(owner, {})[key] = snapshot
    return held


def _match_plugins(record: Mapping[str, Any], plugins: Sequence[Registered]) -> dict[str, str]:
    """Return the name in `record` of each plugin, by its name now, and log which plugins are new, missing or renamed."""
    names = {registered.name: registered.name for registered in plugins if registered.name in record}
    new = [registered for registered in plugins if registered.name not in record]
    missing = [name for name in record if name not in names]
    for registered in list(new):
        alike = [name for name in missing if record[name]["type"] == registered.type_name]
        if len(alike) == 1 and sum(other.type_name == registered.type_name for other in new) == 1:
            names[registered.name] = alike[0]
            new.remove(registered)
            missing.remove(alike[0])
            logger.warning("resumed: plugin %r was called %r, has the same class and keeps its state", registered.name, alike[0])
    for registered in new:
        logger.warning("resumed: plugin %r is new and begins with fresh state", registered.name)
    for name in missing:
        logger.warning("resumed: plugin %r of the earlier run is missing; its state is left out", name)
    return names


def _have_changed(plugin: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether parameters of `plugin` differ from those in the record, and log those that do."""
    differing = [
        f"{name} was {before[name]!r} and is {now[name]!r}"
        for name in sorted({*before} & {*now})
        if not (is_secret(name) or now[name] == HIDDEN)  # earlier versions recorded its value
        if repr(before[name]) != repr(now[name])  # repr: NaN is NaN
    ]
    if differing:
        logger.warning("resumed: the parameters of plugin %r have changed: %s", plugin, "; ".join(differing))
    return bool(differing)


def _votes_to_keep(votes: Iterable[StopReason], unchanged: Mapping[str, str], host: tuple[str, str | None]) -> list[StopReason]:
    """Return the votes that still count, and log which votes are kept.

    They are those of the plugins in `unchanged`, which maps saved names to names now, and the vote of the loop, `host`, if it may
    stop for the same reason.
    """
    kept = []
    for vote in votes:
        if vote.plugin in unchanged or (vote.plugin, vote.message) == host:
            logger.warning("resumed: the run was stopped by %s and stays stopped: %s", vote.plugin, vote.message)
            kept.append(attrs.evolve(vote, plugin=unchanged.get(vote.plugin, vote.plugin)))
        elif vote.plugin == host[0]:
            now = "which no longer applies" if host[1] is None else f"and is now {host[1]!r}"
            msg = "resumed: the run was stopped by %s and continues: the reason was %r, %s"
            logger.warning(msg, vote.plugin, vote.message, now)
        else:
            logger.warning("resumed: plugin %r is missing or changed; its vote to stop is dropped: %s", vote.plugin, vote.message)
    return kept


def _load(registered: Registered, saved: Any, held: Mapping[str, Any], policy: ErrorPolicy) -> None:
    try:
        if registered.initial_state is not None and saved is not None:
            registered.plugin.load_state_dict(saved)
        if held:
            registered.plugin.load_snapshots(held)
    except BaseException as error:
        if interrupts(error):
            raise
        if not policy.disables(registered):
            raise CheckpointError(
                f"Plugin {registered.name!r} could not load its saved state: {describe(error)}. "
                f"State: {shortened(repr(saved), 500)}."
            ) from error
        logger.warning(
            "resumed: plugin %r could not load its saved state and begins with fresh state: %s", registered.name, describe(error)
        )
        policy.ask(registered, "load_state_dict", registered.reset, None)
