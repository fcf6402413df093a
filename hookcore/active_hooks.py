"""The hooks that one run calls now: compiled for its active plugins, and for batches either timed or plain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hookcore.dispatch import Hooks, Switch, compile_hooks
from hookcore.registry.inspection import implementations
from hookcore.timing import BATCH_HOOKS, FIRST_WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pluggy import HookImpl

    from hookcore.dispatch import Policy
    from hookcore.registry.inspection import Registered
    from hookcore.run import Run
    from hookcore.timing import Timing


class ActiveHooks:
    """Compiles the hooks of one run, those of batches in a timed and a plain variant, and chooses between the two.

    * `handles`: the plugins' own handles, by name.
    * `on_error`: what to do with a plugin's error.
    * `timing`: adds up the time, and decides which batches are timed.
    """

    __slots__ = (
        "_handles",
        "_implemented",
        "_is_timed",
        "_on_error",
        "_plain",
        "_switch",
        "_timed",
        "_timing",
        "hooks",
        "on_batch_begin",
        "on_batch_end",
        "reads_metrics",
        "window_left",
    )

    def __init__(self, handles: Mapping[str, Run], on_error: Policy, timing: Timing) -> None:
        self._handles, self._on_error, self._timing = handles, on_error, timing
        self._switch = Switch()
        self.hooks = Hooks()
        """Every hook, compiled."""
        self.window_left = 0
        """The number of batches until `begin_window` must be called."""
        self._is_timed = False
        self._timed = self._plain = self.hooks
        self._implemented: set[str] = set()
        self.on_batch_begin: Callable[[int], None] | None = None
        self.on_batch_end: Callable[[int, Mapping[str, float]], None] | None = None
        """None if no plugin implements it: in training, with cold processor caches, an empty call costs as much as a plugin."""
        self.reads_metrics = False
        """Whether a plugin takes the metrics of `on_batch_end`."""

    def compile(self, plugins: Iterable[Registered]) -> None:
        """Compile the hooks again, for `plugins`."""
        plain = implementations(plugins)
        timed = self._timing.timed(plain)
        batches = {hook: timed.pop(hook) for hook in BATCH_HOOKS}
        self._timed = self._compiled(batches)
        self._plain = self._compiled({hook: plain[hook] for hook in BATCH_HOOKS})
        self._implemented = {hook for hook in BATCH_HOOKS if plain[hook]}
        self.reads_metrics = any("metrics" in {*impl.argnames, *impl.kwargnames} for impl in plain["on_batch_end"])
        others = self._compiled(timed)
        for hook in timed:
            setattr(self.hooks, hook, getattr(others, hook))
        self._use(timed=self._is_timed)

    def _compiled(self, impls: Mapping[str, Sequence[HookImpl]]) -> Hooks:
        return compile_hooks(impls, self._handles, self._on_error, self._switch)

    def _use(self, *, timed: bool) -> None:
        self._is_timed, chosen = timed, self._timed if timed else self._plain
        for hook in BATCH_HOOKS:
            setattr(self.hooks, hook, getattr(chosen, hook))
        self.on_batch_begin = chosen.on_batch_begin if "on_batch_begin" in self._implemented else None
        # The end of a batch also counts the window for plugins that implement only its beginning.
        self.on_batch_end = chosen.on_batch_end if self._implemented & {"on_batch_begin", "on_batch_end"} else None

    def begin_timing(self) -> None:
        """Time the first batches."""
        self.window_left = FIRST_WINDOW
        self._use(timed=True)

    def begin_window(self) -> None:
        """Use the timed or the plain hooks for the next batches."""
        timed, self.window_left = self._timing.next_window(timed=self._is_timed)
        if timed != self._is_timed:
            self._use(timed=timed)

    def refuse_batches(self, refuse: Callable[..., None]) -> None:
        """Call `refuse`, which raises an error, for each batch from now on: the run has ended."""
        self.on_batch_begin = self.on_batch_end = refuse

    def turn_off(self, refuse: Callable[..., None]) -> None:
        """Call `refuse`, which raises an error, in place of each plugin from now on, even in hooks that are being called."""
        self._switch.turn_off(refuse)
        self.refuse_batches(refuse)
