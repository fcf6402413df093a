"""The hot path: the implementations of one hook, compiled into one flat function.

pluggy decides which implementations exist, and their order. A call through pluggy takes several times as long as a plain loop,
and an error in one plugin ends the call for the others. The compiled function is as fast as a plain loop, and isolates errors.
`benchmarks/dispatch.py` measures both.
"""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from hookcore.raised import describe, drop_context, frames_of, interrupts, note
from hookcore.specs import HOOKS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from types import CodeType

    from pluggy import HookImpl

    from hookcore.run import Run
    from hookcore.store import SavedCheckpoint

    Call = Callable[..., None]
    Wrapper = Generator[None, object, object]


_FIRST_CALL: Final = 3
"""The line of a compiled function on which it makes its first call."""


_REACHES_ALL: Final = frozenset({"on_train_end"})
"""The hooks that are called for every plugin even if Ctrl-C interrupts one of them: in these, plugins close files and locks."""


class Policy(Protocol):
    """A function that records a plugin's error and returns the exception to raise for it, or None to continue."""

    def __call__(self, plugin: str, hook: str, error: BaseException, /) -> BaseException | None:  # noqa: D102 - the class has it
        ...


_left_to_parent: Final[list[Wrapper]] = []
"""Wrappers that were begun before a fork. A forked child keeps them, because freeing one would run its `finally`."""


class Switch:
    """Turns off the compiled hooks of one run, even those that are being called: a forked child must call no plugin.

    It costs nothing until then: the compiled functions look up each plugin by a name, and the values of these names are replaced.
    """

    __slots__ = ("_compiled", "_refuse")

    def __init__(self) -> None:
        self._compiled: weakref.WeakSet[Any] = weakref.WeakSet()
        """Weak, so that functions that were replaced, when a plugin was disabled, are freed."""
        self._refuse: Callable[[], object] | None = None

    def add(self, compiled: Call) -> None:
        """Add a compiled function. The names that it looks up are its globals."""
        self._compiled.add(compiled)

    def turn_off(self, refuse: Callable[..., object]) -> None:
        """Have `refuse`, which raises an error, called instead of each plugin that would be called next."""
        self._refuse = refuse
        for compiled in self._compiled:
            namespace = compiled.__globals__
            for name in namespace:
                if name.startswith("call"):
                    namespace[name] = refuse
            namespace["recover"] = _raise

    def check(self, begun: Sequence[Wrapper] = ()) -> None:
        """Call `refuse` if the hooks are off, and keep the wrappers that were `begun` as they are."""
        if self._refuse is not None:
            _left_to_parent.extend(begun)
            self._refuse()


def _raise(error: BaseException, *_: object) -> NoReturn:
    raise error


def compile_hook(
    hook: str,
    parameters: Sequence[str],
    impls: Sequence[HookImpl],
    handles: Mapping[str, Run],
    on_error: Policy,
    *,
    switch: Switch,
) -> Call:
    """Return one function that calls `impls`, in pluggy's order, with the positional arguments `parameters` after `run`.

    Each implementation gets the arguments that it names; `run` is its plugin's own handle, from `handles`. An exception in one is
    passed to `on_error`, and the others are still called; what `on_error` returned is raised after the last call. What interrupts
    the run, such as Ctrl-C, is raised at once, except in `on_train_end`.
    """
    # pluggy lists implementations last-called first, wrappers after the rest.
    plain = [impl for impl in reversed(impls) if not impl.wrapper]
    wrappers = [impl for impl in reversed(impls) if impl.wrapper]
    call = _compile_calls(hook, parameters, plain, handles, on_error, switch=switch)
    return _wrap(hook, parameters, wrappers, call, handles=handles, on_error=on_error, switch=switch) if wrappers else call


def _compile_calls(
    hook: str,
    parameters: Sequence[str],
    impls: Sequence[HookImpl],
    handles: Mapping[str, Run],
    on_error: Policy,
    *,
    switch: Switch,
) -> Call:
    arguments = ", ".join(parameters)
    namespace: dict[str, Any] = {"recover": _recover_from(hook, parameters, impls, handles, on_error, switch=switch)}
    lines = [f"def {hook}({arguments}):", "    try:"]
    for i, impl in enumerate(impls):
        namespace[f"call{i}"] = impl.function
        namespace[f"run{i}"] = handles[impl.plugin_name]
        names = {**dict(zip(parameters, parameters, strict=True)), "run": f"run{i}"}
        wanted = ", ".join(
            [*(names[name] for name in impl.argnames), *(f"{name}={names[name]}" for name in impl.kwargnames if name in names)]
        )
        lines.append(f"        call{i}({wanted})")
    # One try for all calls: since CPython 3.11 a try costs nothing at run time if nothing is raised, but each takes time to
    # compile.
    lines += [
        "        return None",
        "    except BaseException as error:",
        f"        return recover({', '.join(['error', *parameters])})",
    ]
    # Safe: the source holds only our own hook names and argument names that pluggy has validated.
    exec(code_of("\n".join(lines)), namespace)  # noqa: S102
    call: Call = namespace[hook]
    switch.add(call)
    return call


@functools.lru_cache
def code_of(source: str) -> CodeType:
    """Compile `source` once for the timed and the plain variant, and for every run over the same plugins."""
    return compile(source, "<hookcore>", "exec")


def _call(impl: HookImpl, parameters: Sequence[str], values: Sequence[object], handle: Run) -> Any:
    """Call an implementation with the arguments that it names; those with a default by keyword, as the hook may lack them."""
    given = {**dict(zip(parameters, values, strict=True)), "run": handle}
    keywords = {name: given[name] for name in impl.kwargnames if name in given}
    return impl.function(*(given[name] for name in impl.argnames), **keywords)


def _recover_from(
    hook: str,
    parameters: Sequence[str],
    impls: Sequence[HookImpl],
    handles: Mapping[str, Run],
    on_error: Policy,
    *,
    switch: Switch,
) -> Call:
    def recover(error: BaseException, *values: object) -> None:
        """Apply the policy to `error`, call the implementations after the one that raised it, then raise what it returned."""
        if _ends_event(hook, error):
            raise error
        trace: Any = frames_of(error)  # begins in the compiled function, at the line of the call that failed
        failed = trace.tb_lineno - _FIRST_CALL  # beyond the calls if Ctrl-C came between two of them
        raising = [_decide(on_error, impls[failed].plugin_name if failed in range(len(impls)) else "", hook, error)]
        for impl in impls[max(failed + 1, 0) :]:
            try:
                _call(impl, parameters, values, handles[impl.plugin_name])
            except BaseException as another:
                switch.check()
                drop_context(another, error)
                if _ends_event(hook, another):
                    raise
                raising.append(_decide(on_error, impl.plugin_name, hook, another))
            switch.check()
        raise_first(raising)

    return recover


def _ends_event(hook: str, error: BaseException) -> bool:
    return hook not in _REACHES_ALL and interrupts(error)


def _decide(on_error: Policy, plugin: str, hook: str, error: BaseException) -> BaseException | None:
    """Return what to raise for `error`: Ctrl-C itself; for a plugin's error, what the policy returns."""
    return error if interrupts(error) else on_error(plugin, hook, error)


def raise_first(raising: Sequence[BaseException | None]) -> None:
    """Raise the first error in `raising`, with the others as notes. Do nothing if there is no error."""
    errors = [error for error in raising if error is not None]
    for other in errors[1:]:
        note(errors[0], f"Then, in the same event: {describe(other)}")
    if errors:
        raise errors[0]


def _wrap(
    hook: str,
    parameters: Sequence[str],
    wrappers: Sequence[HookImpl],
    inner: Call,
    *,
    handles: Mapping[str, Run],
    on_error: Policy,
    switch: Switch,
) -> Call:
    def call(*values: object) -> None:
        """Enter the wrappers, outermost first, call what they wrap, and leave them in reverse."""
        raising: list[BaseException | None] = []
        entered: list[tuple[HookImpl, Wrapper]] = []
        begun: list[Wrapper] = []
        thrown: BaseException | None = None
        switch.check()
        for impl in wrappers:
            wrapper: Wrapper = _call(impl, parameters, values, handles[impl.plugin_name])
            begun.append(wrapper)
            failed = _enter(wrapper)
            switch.check(begun)
            if failed is None:
                entered.append((impl, wrapper))
            elif _ends_event(hook, failed):
                thrown = failed
                break
            else:
                raising.append(_decide(on_error, impl.plugin_name, hook, failed))
        if thrown is None:
            try:
                inner(*values)
            except BaseException as error:  # noqa: BLE001 - the wrappers see it, as pluggy's do, and it is raised below
                thrown = error
            switch.check(begun)
        for impl, wrapper in reversed(entered):
            thrown, failure = _leave(wrapper, thrown)
            switch.check(begun)
            if failure is not None:
                raising.append(on_error(impl.plugin_name, hook, failure))
        raise_first([thrown, *raising])

    return call


def _enter(wrapper: Wrapper) -> BaseException | None:
    """Run a wrapper up to its `yield`; return its error, or None."""
    try:
        next(wrapper)
    except StopIteration:
        return RuntimeError("the wrapper did not yield; it must yield exactly once")
    except BaseException as error:  # noqa: BLE001 - the caller decides
        return error
    return None


def _leave(wrapper: Wrapper, thrown: BaseException | None) -> tuple[BaseException | None, BaseException | None]:
    """Run a wrapper from its `yield` to its end; return what to throw into the next wrapper, and this wrapper's own error."""
    try:
        if thrown is None:
            wrapper.send(None)
        else:
            wrapper.throw(thrown)
        wrapper.close()  # it yielded again; this may raise too
    except StopIteration:
        return None, None
    except BaseException as error:  # noqa: BLE001 - the policy decides on whatever a plugin raises
        if interrupts(error):
            return error, None  # it is thrown into the others too
        return thrown, None if error is thrown else error
    return thrown, RuntimeError("the wrapper yielded twice; it must yield exactly once")


class Hooks:
    """The compiled hooks of one run. Each is called with the hook's arguments after `run`, by position."""

    __slots__ = tuple(HOOKS)

    on_train_begin: Callable[[], None]
    on_epoch_begin: Callable[[int], None]
    on_batch_begin: Callable[[int], None]
    on_batch_end: Callable[[int, Mapping[str, float]], None]
    on_evaluate_begin: Callable[[], None]
    on_evaluate_batch_begin: Callable[[int], None]
    on_evaluate_batch_end: Callable[[int, Mapping[str, float]], None]
    on_evaluate_end: Callable[[Mapping[str, float]], None]
    on_epoch_end: Callable[[int, Mapping[str, float]], None]
    on_metrics: Callable[[Mapping[str, float]], None]
    on_predict_begin: Callable[[], None]
    on_predict_batch_begin: Callable[[int], None]
    on_predict_batch_end: Callable[[int], None]
    on_predict_end: Callable[[], None]
    on_checkpoint: Callable[[SavedCheckpoint], None]
    on_exception: Callable[[BaseException], None]
    on_train_end: Callable[[], None]


def compile_hooks(impls: Mapping[str, Sequence[HookImpl]], handles: Mapping[str, Run], on_error: Policy, switch: Switch) -> Hooks:
    """Compile every hook for one run, which `switch` turns off."""
    hooks = Hooks()
    for hook, own in impls.items():
        setattr(hooks, hook, compile_hook(hook, HOOKS[hook][1:], own, handles, on_error, switch=switch))
    return hooks
