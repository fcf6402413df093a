"""`fit`: Keras's own `model.fit` with plugins, which sees exceptions and converts metrics only if something reads them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import keras

from hookcore import Engine, HookcoreError, Plugins, Resume
from hookcore.interrupt import DelayedInterrupt
from hookcore.numeric import unwrapped
from hookcore_adapters.keras import internals
from hookcore_adapters.keras.callback_list import LastCallback
from hookcore_adapters.keras.data import validation_data
from hookcore_adapters.keras.events import KerasEvents
from hookcore_adapters.keras.finalizing import told_before
from hookcore_adapters.keras.mistakes import listed_callbacks, refuse_callbacks, refuse_other_models, refuse_unknown

if TYPE_CHECKING:
    from hookcore import Run

_NUMBERS: Final = frozenset(
    {"batch_size", "epochs", "initial_epoch", "steps_per_epoch", "validation_batch_size", "validation_freq", "validation_steps"}
)


def fit(model: Any, *args: Any, plugins: Plugins = (), resume: Resume = False, **kwargs: Any) -> Run:
    """Train `model` as `model.fit(*args, **kwargs)` does, with `plugins`, and return the run.

    * `plugins`: what `Engine` takes, an `Engine`, or a configuration, such as `"hookcore.toml"`.
    * `callbacks`: Keras callbacks, which work as before. They are called before the plugins: what they add to the logs at an
      epoch's end are metrics, and what they do to the model is in the checkpoint. When training ends they are called after them,
      with the weights that a plugin has put back; when it begins, after a resumed run is restored.
    * `verbose`: Keras's progress bar, which is shown by default, unless a plugin shows progress itself.
    * `resume`: `"auto"` resumes from the newest whole checkpoint of a plugin such as `Checkpoint`, if there is one yet; a path
      resumes from that checkpoint, or from the newest in that directory. Give the same model, compiled alike, data and `epochs`
      as before. Weights, optimizer, seeds, plugins and history are restored, and training continues with the next batch. If the
      data may come in another order now, the log warns. A checkpoint that does not verify or is of another model is refused with
      `CheckpointError`.

    Plugins see the validation data (`run.validation_data`) and the exception that ends a run, Ctrl-C included; the caller gets
    the exception too, and finds the run in `engine.run`. A vote to stop that is given before the first batch of an epoch takes
    effect after that batch, because Keras looks only then. Ctrl-C takes effect between two batches, a second one at once. Raises
    what Keras and the plugins raise.
    """
    engine = Engine.of(refuse_callbacks(plugins))
    refuse_other_models(model, accept_stand_ins=False)
    # A model may have a `fit` of its own, with more arguments, that calls Keras's.
    signature = inspect.signature(internals.trainer_fit())
    if type(model).fit is keras.Model.fit:
        refuse_unknown("fit", kwargs, signature)
    bound = signature.bind(model, *args, **{name: value for name, value in kwargs.items() if name in signature.parameters})
    for name in _NUMBERS & bound.arguments.keys():  # Keras refuses some of NumPy's
        bound.arguments[name] = unwrapped(bound.arguments[name])
    unknown = {name: value for name, value in kwargs.items() if name not in signature.parameters}
    if "verbose" not in bound.arguments:
        bound.arguments["verbose"] = 0 if engine.shows_progress else "auto"
    with_defaults = signature.bind(*bound.args, **bound.kwargs)
    with_defaults.apply_defaults()
    arguments = with_defaults.arguments
    events = KerasEvents(engine, validation_data(arguments), arguments["validation_freq"], resume, arguments)
    last = LastCallback(events)
    bound.arguments["callbacks"] = [*listed_callbacks(arguments["callbacks"]), last]
    # By position only what was given so: who wraps `Model.fit` looks for the others by name.
    by_position = [bound.arguments.pop(name) for name in list(signature.parameters)[: 1 + len(args)]][1:]
    with DelayedInterrupt(events.interrupt), told_before(model, events.failed):  # also while Keras prepares
        try:
            model.fit(*by_position, **bound.arguments, **unknown)
        except BaseException as error:
            events.failed(error)
            raise
    run = engine.run
    if run is None or not last.is_in_use:
        raise HookcoreError(
            f"fit: {type(model).__name__}.fit returned without a run: it did not give Keras the callbacks that it was given. "
            "Have it, or whatever patches it, pass them on."
        )
    return run
