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
        with _reported(mistakes, f"{one.place}: " if one.place else ""):
            engine.register(one.plugin, one.name) if request is None else engine.register(request)
    for name, policy in read.on_error.items() if read else ():
        with _reported(mistakes):
            engine.override({name: policy}, read.place / "on_error" if read else "")
    rate = [registered.name for registered in engine.plugins if "learning_rate" in registered.needs]
    if len(rate) > 1:
        mistakes.append(f"{' and '.join(rate)} set the learning rate, and the last one to set it wins. Keep one of them.")
    needs: dict[Capability, list[str]] = {}
    for registered in engine.plugins:
        for need in registered.needs:
            needs.setdefault(need, []).append(registered.name)
    mistakes += [f"The loop lacks {need}, which is needed by {', '.join(needs[need])}." for need in without if need in needs]
    mistakes += _shared_paths(engine.plugins)
    for registered in engine.plugins:
        mistakes += _monitored(registered, metrics)
        mistakes += _space(registered, checkpoint_size)
    left = [one for one in installed(environ) if one.kind == "autoload" and one.status in {"blocked", "off", "shadowed"}]
    return Checkup(
        [one for one, _ in found if any(registered.plugin is one.plugin for registered in engine.plugins)],
        {hook: order for hook in HOOKS if (order := engine.order(hook))},
        rate,
        needs,
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
            made.append(attrs.evolve(request, target=None, plugin=found.plugin, replaces=found.replaces))
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


def _shared_paths(plugins: Sequence[Registered]) -> Iterator[str]:
    """Yield a mistake for each file that two plugins write, and for each directory of two plugins of one class."""
    seen: dict[Path, list[tuple[Registered, bool]]] = {}
    for registered in plugins:
        for field, value in _fields(registered):
            if isinstance(value, Path):
                kind = kind_of_path(field.validator) or ("directory" if value.is_dir() or "dir" in field.alias else "file")
                seen.setdefault(value.absolute().resolve(), []).append((registered, kind == "file"))
    for path, owners in seen.items():
        names = [registered.name for registered, _ in owners]
        kinds = [type(registered.plugin) for registered, _ in owners]
        if len(owners) > 1 and (any(is_file for _, is_file in owners) or len(set(kinds)) < len(kinds)):
            yield f"{' and '.join(names)} both write {path}. Give each its own path."


def _monitored(registered: Registered, metrics: Collection[str]) -> Iterator[str]:
    """Yield a mistake if the plugin monitors a metric that will be missing, or one with an unknown direction."""
    values = {field.alias: value for field, value in _fields(registered)}
    monitor, mode = values.get("monitor"), values.get("mode")
    if not isinstance(monitor, str):
        return
    if metrics and monitor not in metrics and values.get("missing") != "skip":
        known = ", ".join(sorted(metrics))
        yield f"{registered.name}: no metric {monitor!r}; there are: {known}.{did_you_mean(monitor, metrics)}"
        return
    prefix = _PREFIX.match(monitor)
    plain = monitor[prefix.end() :] if prefix else monitor
    if mode == "auto" and plain not in DIRECTIONS:
        hint = did_you_mean(plain, DIRECTIONS, monitor.removesuffix(plain))
        yield (
            f"{registered.name}: monitor={monitor!r} has no known direction, unless the loop declares one.{hint}"
            f" {'Otherwise set' if hint else 'Set'} mode='min' or mode='max'."
        )


def _space(registered: Registered, size: int | None) -> Iterator[str]:
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
    exists = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    usage = shutil.disk_usage(exists)
    if usage.total and usage.free < count * each:
        yield (
            f"{registered.name}: {format_count(count, 'checkpoint')} of {format_size(each)} in {directory} "
            f"{'needs' if count == 1 else 'need'} {format_size(count * each)}, and the disk has {format_size(usage.free)} free. "
            "Free some, or keep fewer."
        )
