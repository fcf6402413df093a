"""The mistakes that can be found before the first batch: in a configuration, in the environment, and between plugins."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from hookcore import store
from hookcore.cli.installed import installed
from hookcore.engine import Engine
from hookcore.errors import HookcoreError, HookcoreWarning
from hookcore.observing import DIRECTIONS
from hookcore.raised import describe, interrupts
from hookcore.registry import configuration, discovery, finding
from hookcore.secrecy import is_secret
from hookcore.specs import HOOKS
from hookcore.store import files
from hookcore.text import did_you_mean, format_count, format_size
from hookcore.validators import kind_of_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from hookcore.registry.discovery import Found
    from hookcore.registry.inspection import Registered
    from hookcore.registry.request import Request
    from hookcore.trainee import Capability

    _Mistake = tuple[Registered, str, str]  # the plugin, the parameter that is to blame or an empty string, and the sentence

_PREFIX: Final = re.compile(r"(val|valid|validation|eval|test|train|training)[_/-]")
"""The prefixes of metric names in the loops of the frameworks. Each loop has its own, and here the loop is unknown."""


@attrs.frozen
class Checkup:
    """What was found. Mistakes should be corrected; notes are facts that may explain a run."""

    plugins: list[Found]
    """The plugins of the run, in order, with who asked for each."""
    calls: dict[str, list[str]]
    """The names of the plugins that implement each hook, in the order of its calls; a hook without a plugin is absent."""
    rate: list[str]
    """The names of the plugins that set the learning rate."""
    needs: dict[Capability, list[str]]
    """What the loop's trainee must have, and for which plugins."""
    mistakes: list[str]
    notes: list[str]


class _Collected(logging.Handler):
    """Collects what is logged instead of printing it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        self.messages.append(message[:1].upper() + message[1:] + ("" if message.endswith((".", "?")) else "."))


def check(
    config: Path | None = None,
    *,
    metrics: Collection[str] = (),
    without: Collection[Capability] = (),
    checkpoint_size: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Checkup:
    """Check a run of the configuration `config`, or by default one of the plugins that the environment and packages add.

    `metrics` are the names of all metrics that the loop will have; by default, they are unknown. `without` are the capabilities
    that its trainee lacks. `checkpoint_size` is the size of a checkpoint in bytes, by default that of the newest that exists.
    """
    mistakes: list[str] = []
    notes: list[str] = []
    read = None
    if config is not None:
        with _reported(mistakes):
            read = configuration.read(config, report=lambda error: mistakes.append(str(error)))
    requests = [*(read.requests if read else ()), *finding.from_environment(environ)]
    found = _found(requests, autoload=read is None or read.autoload, environ=environ, mistakes=mistakes, notes=notes)
    engine = Engine(autoload=False)
    for one, request in found:
        with _reported(mistakes, f"{one.place}: " if str(one.place) else ""):
            engine.register(one.plugin, one.name) if request is None else engine.register(request)
    for name, policy in read.on_error.items() if read else ():
        with _reported(mistakes):
            engine.override({name: policy}, read.place / "on_error" if read else "")
    needs: dict[Capability, list[Registered]] = {}
    for registered in engine.plugins:
        for need in registered.needs:
            needs.setdefault(need, []).append(registered)
    wrong = [*_rates(needs.get("learning_rate", [])), *_lacking(needs, without), *_shared_paths(engine.plugins)]
    for registered in engine.plugins:
        wrong += [*_monitored(registered, metrics), *_unwritable(registered), *_space(registered, checkpoint_size)]
    places = {id(one.plugin): request.place_of for one, request in found if request is not None}
    for registered, parameter, mistake in wrong:
        place = str(places[id(registered.plugin)](parameter)) if id(registered.plugin) in places else ""
        mistakes.append(": ".join(filter(None, (place, mistake))))
    left = [one for one in installed(environ) if one.kind == "autoload" and one.status in {"blocked", "off", "shadowed"}]
    return Checkup(
        [one for one, _ in found if any(registered.plugin is one.plugin for registered in engine.plugins)],
        {hook: order for hook in HOOKS if (order := engine.order(hook))},
        [registered.name for registered in needs.get("learning_rate", [])],
        {need: [registered.name for registered in needing] for need, needing in needs.items()},
        mistakes,
        notes + [f"The autoloaded plugin {one.name!r} of {one.origin} is {one.verdict}." for one in left],
    )


@contextlib.contextmanager
def _reported(mistakes: list[str], prefix: str = "") -> Iterator[None]:
    """Append the error that the block raises to `mistakes`."""
    try:
        yield
    except HookcoreError as error:
        text = str(error)
        mistakes += (text if text.startswith(prefix) else prefix + text).split("\n")
    except BaseException as error:  # a third party's constructor may raise anything
        if interrupts(error):
            raise
        mistakes.append(prefix + describe(error))


def _found(
    requests: Iterable[Request], *, autoload: bool, environ: Mapping[str, str], mistakes: list[str], notes: list[str]
) -> list[tuple[Found, Request | None]]:
    """Return the plugins that can be made, as an engine finds them, each with its request unless it is autoloaded.

    Append the errors of the others to `mistakes`, and what was left out to `notes`.
    """
    blocked = discovery.blocked_names(environ)
    made: list[Request] = []
    asked_for: dict[int, tuple[Found, Request | None]] = {}
    for request in requests:
        if discovery.is_blocked(request.called, blocked) or discovery.is_blocked(request.target, blocked):
            made.append(request)  # `find` reports it
            continue
        with _reported(mistakes):
            found = request.make()
            made.append(attrs.evolve(request, plugin=found.plugin, replaces=found.replaces))
            asked_for[id(found.plugin)] = found, made[-1]
    collected = _Collected()
    finding.logger.addHandler(collected)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", HookcoreWarning)
            rest = {key: value for key, value in environ.items() if key != finding.PLUGINS}
            found_all = list(finding.find(made, autoload=autoload, environ=rest))
    finally:
        finding.logger.removeHandler(collected)
    for message in collected.messages:  # a plugin that the user has blocked or overridden is not a mistake
        (mistakes if message.startswith(f"{discovery.DISABLE} names") else notes).append(message)
    mistakes += [str(warning.message) for warning in warned]
    return [asked_for.get(id(found.plugin), (found, None)) for found in found_all]


def _fields(registered: Registered) -> Iterator[tuple[Any, Any]]:
    """Yield the parameters of an attrs plugin with their values, without secrets."""
    kind = type(registered.plugin)
    for field in attrs.fields(kind) if attrs.has(kind) else ():
        if field.init and not is_secret(field.alias, kind):
            yield field, getattr(registered.plugin, field.name)


def _joined(plugins: Sequence[Registered]) -> str:
    names = [registered.name for registered in plugins]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _rates(setting: Sequence[Registered]) -> Iterator[_Mistake]:
    if len(setting) > 1:
        yield setting[-1], "", f"{_joined(setting)} set the learning rate, and the last one to set it wins. Keep one of them."


def _lacking(needs: Mapping[Capability, Sequence[Registered]], without: Collection[Capability]) -> Iterator[_Mistake]:
    """Yield a mistake for each capability that a plugin needs and the loop lacks."""
    for need in without:
        if need in needs:
            advice = f"Leave {'it' if len(needs[need]) == 1 else 'them'} out, or pass `Loop` a `trainee=` that has it"
            text = f"The loop lacks {need}, which is needed by {_joined(needs[need])}. {advice}: see docs/writing-a-trainee.md."
            yield needs[need][0], "", text


def _shared_paths(plugins: Sequence[Registered]) -> Iterator[_Mistake]:
    """Yield a mistake for each file that several plugins write, and for each directory of several plugins of one class."""
    seen: dict[Path, list[tuple[Registered, str, bool]]] = {}
    for registered in plugins:
        for field, value in _fields(registered):
            if isinstance(value, Path):
                kind = kind_of_path(field.validator) or ("directory" if value.is_dir() or "dir" in field.alias else "file")
                seen.setdefault(value.absolute().resolve(), []).append((registered, field.alias, kind == "file"))
    for path, owners in seen.items():
        is_file = any(is_file for *_, is_file in owners)
        groups: dict[object, list[tuple[Registered, str]]] = {}
        for registered, parameter, _ in owners:
            groups.setdefault(None if is_file else type(registered.plugin), []).append((registered, parameter))
        for group in groups.values():
            if len(group) > 1:
                names = _joined([registered for registered, _ in group])
                all_of_them = "all" if group[2:] else "both"
                yield *group[-1], f"{names} {all_of_them} write {path}. Give each its own path."


def _monitored(registered: Registered, metrics: Collection[str]) -> Iterator[_Mistake]:
    """Yield a mistake if the plugin monitors a metric that will be missing, or one with an unknown direction."""
    values = {field.alias: value for field, value in _fields(registered)}
    monitor, mode = values.get("monitor"), values.get("mode")
    if not isinstance(monitor, str):
        return
    # As `Checkpoint` does: without a `missing` that was given, the metric is needed if something depends on it.
    depends = {"monitor", "save_best_only"}.intersection(registered.chosen_parameters())
    is_needed = bool(depends) if values.get("missing", "error") is None else values.get("missing") != "skip"
    if metrics and monitor not in metrics and is_needed:
        there = ", ".join(sorted(metrics))
        hint = did_you_mean(monitor, metrics)
        yield registered, "monitor", f"{registered.name}: no metric {monitor!r}; there are: {there}.{hint}"
        return
    prefix = _PREFIX.match(monitor)
    plain = monitor[prefix.end() :] if prefix else monitor
    if mode == "auto" and plain not in DIRECTIONS:
        hint = did_you_mean(plain, DIRECTIONS, monitor.removesuffix(plain))
        text = f"{registered.name}: monitor={monitor!r} has no known direction, unless the loop declares one.{hint}"
        yield registered, "monitor", f"{text} {'Otherwise set' if hint else 'Set'} mode='min' or mode='max'."


def _unwritable(registered: Registered) -> Iterator[_Mistake]:
    """Yield a mistake for each path at which this process can make no file or directory."""
    for field, value in _fields(registered):
        if isinstance(value, Path) and kind_of_path(field.validator):
            there = _nearest(value)
            if not os.access(there, os.W_OK | (os.X_OK if there.is_dir() else 0)):
                text = (
                    f"{registered.name}: {value} cannot be written, as this process may not write to {there}. Give another path."
                )
                yield registered, field.alias, text


def _nearest(path: Path) -> Path:
    """Return `path`, or the nearest of its parents that exists."""
    return next(found for found in (path.absolute(), *path.absolute().parents) if found.exists())


def _space(registered: Registered, size: int | None) -> Iterator[_Mistake]:
    """Yield a mistake if the disk has no room for the checkpoints that the plugin keeps."""
    values = {field.alias: value for field, value in _fields(registered)}
    directory = values.get("directory")
    if not registered.is_resumable or not isinstance(directory, Path):
        return
    there = store.named(directory) if directory.is_dir() else []
    if size is None and not there:
        return
    each = files.size(there[-1]) if size is None else size
    kept = [values.get("keep_last"), values.get("keep_best")]
    # One more than are kept, because an old one is removed only after the new one has been written.
    count = max(1, 1 + sum(number or 0 for number in kept) - len(there))
    usage = shutil.disk_usage(_nearest(directory))
    if usage.total and usage.free < count * each:
        text = (
            f"{registered.name}: {format_count(count, 'checkpoint')} of {format_size(each)} in {directory} "
            f"{'needs' if count == 1 else 'need'} {format_size(count * each)}, and the disk has {format_size(usage.free)} free. "
            "Free some, or keep fewer."
        )
        yield registered, "directory", text
