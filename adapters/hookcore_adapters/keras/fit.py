"""`fit`: Keras's own `model.fit` with plugins, which reports exceptions and converts metrics only if they are read."""

from __future__ import annotations

import inspect
from typing import Any, Final

import keras

from hookcore import Engine, HookcoreError, Plugins, Resume, Run
from hookcore.interrupt import DelayedInterrupt
from hookcore.numeric import unwrapped
from hookcore_adapters.keras import internals
from hookcore_adapters.keras.callback_list import LastCallback
from hookcore_adapters.keras.data import validation_data
from hookcore_adapters.keras.events import KerasEvents
from hookcore_adapters.keras.finalizing import told_before
from hookcore_adapters.keras.mistakes import listed_callbacks, refuse_callbacks, refuse_other_models, refuse_unknown

_NUMBERS: Final = frozenset(
    {"batch_size", "epochs", "initial_epoch", "steps_per_epoch", "validation_batch_size", "validation_freq", "validation_steps"}
)


def fit(model: Any, *args: Any, plugins: Plugins = (), resume: Resume = False, **kwargs: Any) -> Run:
    """Train `model` with `plugins`, as `model.fit(*args, **kwargs)` does, and return the run.

    * `plugins`: what `Engine` takes, an `Engine`, or a configuration, such as `"hookcore.toml"`.
    * `callbacks`: Keras callbacks, which work as before. They are called before the plugins, so what they add to the logs at the
      end of an epoch becomes metrics, and checkpoints contain their changes of the model. When training begins, they are called
      after a resumed run is restored. When it ends, they are called after the plugins, which may have restored the best weights.
      In a resumed run, Keras's own `EarlyStopping`, `ReduceLROnPlateau` and `ModelCheckpoint` forget what they counted, and a
      warning names them: use the drop-ins of `hookcore_adapters.keras.callbacks`, or plugins.
    * `verbose`: Keras's progress bar, shown by default unless a plugin shows progress.
    * `resume`: `"auto"` resumes from the newest complete checkpoint of a plugin such as `Checkpoint`, if there is one; a path
      resumes from that checkpoint, or from the newest in that directory. Give the same model, compiled in the same way, and the
      same data and `epochs`. Weights, optimizer, seeds, plugins and history are restored, and training continues with the next
      batch. A warning is logged if the data may come in another order. Raises `CheckpointError` for a damaged checkpoint, or one
      of another model.

    Plugins see the validation data (`run.validation_data`) and an exception that ends the run, including Ctrl-C. The exception is
    also raised to the caller, who finds the run in `engine.run`. A vote to stop before the first batch of an epoch takes effect
    after that batch, because Keras checks only then. Ctrl-C takes effect between two batches, and a second one at once. Raises
    the errors of Keras and of plugins.
    """
    engine = Engine.of(refuse_callbacks(plugins))
    refuse_other_models(model, accept_stand_ins=False)
    # A model may override `fit` with more arguments, and call Keras's.
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
    # Only what was given by position is passed by position, because wrappers of `Model.fit` read the others by name.
    by_position = [bound.arguments.pop(name) for name in list(signature.parameters)[: 1 + len(args)]][1:]
    with DelayedInterrupt(events.interrupt), told_before(model, events.failed):  # they also cover Keras's preparations
        try:
            model.fit(*by_position, **bound.arguments, **unknown)
        except BaseException as error:
            events.failed(error)
            raise
    run = engine.run
    if run is None or not last.is_in_use:
        raise HookcoreError(
            f"fit: {type(model).__name__}.fit returned without a run, because it did not pass its callbacks to Keras. Change it, "
            "or the tool that patches it, to pass them."
        )
    return run
