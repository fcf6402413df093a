"""Which sequences of events are legal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore import Engine, Outcome, Run, SavedCheckpoint, hookimpl
from hookcore.testing import Event, RecordingPlugin, check_events
from hookcore.testing.events import is_legal
from hookcore_adapters.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Sequence

# Each event has a letter; ends are in lower case.
HOOKS = {
    "T": "on_train_begin",
    "E": "on_epoch_begin",
    "B": "on_batch_begin",
    "b": "on_batch_end",
    "V": "on_evaluate_begin",
    "W": "on_evaluate_batch_begin",
    "w": "on_evaluate_batch_end",
    "v": "on_evaluate_end",
    "e": "on_epoch_end",
    "m": "on_metrics",
    "P": "on_predict_begin",
    "Q": "on_predict_batch_begin",
    "q": "on_predict_batch_end",
    "p": "on_predict_end",
    "C": "on_checkpoint",
    "X": "on_exception",
    "t": "on_train_end",
}

# The same rules once more, as a regular expression.
ALONE = "(V(Ww)*W?v?|P(Qq)*Q?p?)"
BROKEN_OFF = "(VC*(WC*wC*)*(WC*)?|PC*(QC*qC*)*(QC*)?)"
EVALUATION = "VC*(WC*wC*)*(WC*)?v"
OTHER = f"({EVALUATION}|PC*(QC*qC*)*(QC*)?p|C)"
BATCH = f"B{OTHER}*b{OTHER}*"
OBSERVED = f"{BATCH}{EVALUATION}{OTHER}*m{OTHER}*"
NO_BATCH = f"(B{OTHER}*)?"
ANY_BATCHES = f"({BATCH}|{OBSERVED})*{NO_BATCH}"
EPOCH = f"E{OTHER}*({ANY_BATCHES}eC*m|({BATCH})*{OBSERVED}{ANY_BATCHES}e)"
LAST = f"(E{OTHER}*{ANY_BATCHES})?({BROKEN_OFF}?XC*)?|E{OTHER}*{ANY_BATCHES}eC*XC*"
RUN = f"T({OTHER}|{EPOCH})*({LAST})t"
LEGAL = re.compile(f"({ALONE}|{RUN})*")


def events(letters: str) -> list[Event]:
    """Return the events for `letters`, numbered as in a legal sequence."""
    made, epoch, batches = [], -1, dict.fromkeys("BWQ", -1)
    for letter in letters:
        number: tuple[Any, ...] = ()
        if letter == "T":
            epoch = -1
        if letter == "E":
            epoch += 1
        for holder, batch in zip("EVP", "BWQ", strict=True):
            if letter == holder:
                batches[batch] = -1
        if letter in batches:
            batches[letter] += 1
        if letter in "Ee":
            number = (epoch,)
        elif letter in "BbWwQq":
            number = (batches[letter.upper()],)
        elif letter in "CXm":
            number = ({"C": SavedCheckpoint(Path("step-0"), 0, 0), "X": ValueError(), "m": {"loss": 1.0}}[letter],)
        made.append(Event(HOOKS[letter], (*number, *([{}] if letter in "bwve" else []))))
    return made


@st.composite
def nearly_legal(draw: st.DrawFn) -> str:
    """Draw a text that the regular expression matches, with some letters lost, replaced or inserted."""
    letters = list(draw(st.from_regex(LEGAL, fullmatch=True)))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(letters)))
        letters[place : place + draw(st.integers(0, 1))] = draw(st.text("".join(HOOKS), max_size=1))
    return "".join(letters)


@given(nearly_legal() | st.text("".join(HOOKS), max_size=6))
def test_order_is_checked_as_by_a_regular_expression(letters: str) -> None:
    """The check agrees with a regular expression that is written from the same rules."""
    assert is_legal(events(letters)) == bool(LEGAL.fullmatch(letters))


@pytest.mark.parametrize(
    "legal",
    [
        "",
        "Tt",
        "TEemt",
        "TEBbBbVWwvemEBbemt",
        "TEBbBemt",  # the data had ended
        "TEBbBVWwvemt",
        "TEBbt",  # the loop was left
        "TEBVWwvbemt",  # an evaluation in the body of a batch
        "TEVWvemt",  # left in the middle
        "TEBbVvmBbemt",  # an observation by steps, and one of what followed
        "TEBbVvmBbVvmet",  # nothing is fresh at the epoch's end
        "TEBbVvVvCPpmBbet",  # two evaluations are one observation
        "TEeCmCt",  # a checkpoint is announced in the epoch's end
        "TEeXt",  # a plugin raises in it
        "TXt",
        "TEBXt",
        "TEBXCt",
        "TEVWXt",
        "VWwvTEemtPQqpTEemt",
        "VWTEemt",  # an evaluation on its own that an exception ended
    ],
)
def test_legal(legal: str) -> None:
    """The events of real loops pass."""
    check_events(events(legal))


@pytest.mark.parametrize(
    ("letters", "message"),
    [
        ("Eet", r"Event 0, on_epoch_begin\(0\), is out of order: nothing is open. Before it: nothing."),
        ("TTt", r"Event 1, on_train_begin\(\), .*train is open"),
        ("TEBb", r"end within a run: there is no on_train_end after on_batch_end\(0, {}\)"),
        ("TBbt", "train is open"),
        ("TEBBemt", "Event 3, .*batch is open"),
        ("TEbemt", "epoch is open"),
        ("TEVemt", "evaluate is open"),
        ("TEVt", "evaluate is open"),
        ("TEeXEt", "an exception has ended the run"),
        ("TEemtC", "no run is open"),
        ("TEet", r"Event 3, on_train_end\(\), .*the epoch that ended had no on_metrics"),
        ("TEeEemt", "the epoch that ended had no on_metrics"),
        ("TEeVvmt", "the epoch that ended had no on_metrics"),
        ("m", "no run is open"),
        ("Tmt", "neither has an epoch just ended, nor a batch and then an evaluation"),
        ("TEemmt", "neither has an epoch just ended"),
        ("TEVvmemt", "nor a batch and then an evaluation"),
        ("TEBbmemt", "nor a batch and then an evaluation"),
        ("TEBbVvmmemt", "nor a batch and then an evaluation"),
        ("TEBbVvmVvmemt", "nor a batch and then an evaluation"),
        ("TEBbVvBmbemt", "batch is open"),
        ("TEBbVvtTmt", "neither has an epoch just ended"),
        ("TEBbVvBbmemt", "nor a batch and then an evaluation"),
        ("TEBbVmvemt", "evaluate is open"),
        ("TEBbVvPmpemt", "predict is open"),
        ("TEBbVvmeVvmt", "neither has an epoch just ended"),
        ("X", "no run is open"),
        ("t", "no run is open"),
        ("TEemtVPQPw", "nothing|predict is open"),
    ],
)
def test_illegal(letters: str, message: str) -> None:
    """The error names the first event that is out of order, what is open at that point, and the events before it."""
    with pytest.raises(AssertionError, match=message):
        check_events(events(letters))


def run(*within: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    return [("on_train_begin",), *within, ("on_train_end",)]


def epoch(number: int, *within: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    return [("on_epoch_begin", number), *within, ("on_epoch_end", number, {}), ("on_metrics", {})]


def batch(first: int, last: int) -> list[tuple[Any, ...]]:
    return [("on_batch_begin", first), ("on_batch_end", last, {})]


@pytest.mark.parametrize(
    "legal",
    [
        run(*epoch(3), *epoch(4)),
        run(*epoch(0, *batch(0, 0), *batch(1, 3), *batch(4, 4)), *epoch(1, *batch(0, 1))),
        [*run(*epoch(0), *epoch(1)), ("resume", 0), *run(*epoch(1), *epoch(2)), ("resume", 2), *run(*epoch(3)), *run(*epoch(0))],
        run(*epoch(0, ("stop", "enough"), *batch(0, 0))),
        [*run(*epoch(0, ("stop", "enough"))), *run(*epoch(0))],
    ],
)
def test_legal_numbers(legal: list[tuple[Any, ...]]) -> None:
    """A run may begin at any epoch, or resume from one that the previous run ended; a batch may count for several."""
    check_events(legal)


def observed(first: int, last: int) -> list[tuple[Any, ...]]:
    return [*batch(first, last), ("on_evaluate_begin",), ("on_evaluate_end", {}), ("on_metrics", {})]


@pytest.mark.parametrize(
    ("illegal", "message"),
    [
        (run(*epoch(0), *epoch(2)), r"on_epoch_begin\(2\), .*epoch 1 is next"),
        (run(*epoch(0), *epoch(0)), "epoch 1 is next"),
        (run(*epoch(-1)), "epoch 0 is next"),
        (run(("on_epoch_begin", 0), ("on_epoch_end", 1, {})), "epoch 0 is open"),
        (run(*epoch(0), *epoch(1, *observed(0, 0))), "it has no metrics, and the epoch has already had an observation"),
        (run(("on_metrics",)), "its arguments must be metrics"),
        (run(*epoch(0, *batch(1, 1))), "batch 0 is next"),
        (run(*epoch(0, *batch(0, 0), *batch(2, 2))), "batch 1 is next"),
        (run(*epoch(0, *batch(0, 2), *batch(1, 1))), "batch 3 is next"),
        (run(*epoch(0, *batch(0, 0), *batch(1, 0))), "batch 1 is open"),
        (run(*epoch(0, ("stop", "enough")), *epoch(1)), "a plugin has voted to stop"),
        ([*run(*epoch(0)), ("resume", 1), *run(*epoch(2))], "epoch 1 did not end in the previous run"),
        ([*run(*epoch(0)), ("resume", 0), *run(*epoch(0))], "epoch 1 is next"),
        ([*run(*epoch(0)), ("resume", 0), *run(), ("resume", 0), *run()], "epoch 0 did not end"),
        ([*run(*epoch(0)), ("resume", 0), ("on_evaluate_begin",)], "on_train_begin must follow resume"),
        (run(*epoch(0), ("resume", 0)), "a run is already open"),
        (run(("on_epoch_ende", 0)), "no such hook. Did you mean 'on_epoch_end'"),
        (run(("on_epoch_begin",)), "its arguments must be epoch"),
        (
            [("on_train_begin",), ("on_train_end", Outcome.FAILED)],
            "its outcome is failed, but the run ended without an exception",
        ),
        ([("on_train_begin",), ("on_exception", OSError()), ("on_train_end", Outcome.COMPLETED)], "ended with an exception"),
    ],
)
def test_illegal_numbers(illegal: list[tuple[Any, ...]], message: str) -> None:
    """Epochs and batches count without a gap, a run resumes only from an epoch that ended, and the outcome fits the end."""
    with pytest.raises(AssertionError, match=message):
        check_events(illegal)


# The events of the reference adapter.


class Votes:
    """Votes to stop after a number of batches and evaluations."""

    def __init__(self, after: int) -> None:
        self.left = after

    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        self.left -= 1
        if self.left == 0:
            run.stop("enough")

    @hookimpl
    def on_evaluate_end(self, run: Run) -> None:
        self.on_batch_end(run)


def train(engine: Engine, body: Sequence[str]) -> None:
    """Train two epochs of two batches in a `Loop`, and do the next action of `body` in each batch and after each epoch."""
    todo = iter(body)
    with Loop(engine, epochs=2) as loop:
        for _ in loop.epochs():
            for _ in loop.batches("ab"):
                what = next(todo, "")
                if "evaluate" in what:
                    evaluate(loop, what)
                elif what == "break":
                    break
                fail(what)
            if next(todo, "") == "break":
                break


def evaluate(loop: Loop, what: str) -> None:
    with loop.evaluation():
        for _ in loop.batches("ab"):
            if what == "evaluate, break":
                break
            fail(what.removeprefix("evaluate, "))


def fail(what: str) -> None:
    if what == "raise":
        raise ValueError
    if what == "interrupt":
        raise KeyboardInterrupt


WHATS = ["", "", "evaluate", "break", "evaluate, break", "raise", "interrupt", "evaluate, raise"]


@given(
    bodies=st.lists(st.lists(st.sampled_from(WHATS), max_size=8), max_size=3),
    after=st.integers(0, 6),
)
def test_what_a_loop_gives_is_legal(bodies: list[list[str]], after: int) -> None:
    """Whatever the body of a loop does, the events of its runs are legal."""
    recording = RecordingPlugin()
    engine = Engine([Votes(after), recording], autoload=False)
    for body in bodies:
        try:
            train(engine, body)
        except (ValueError, KeyboardInterrupt):
            continue
    check_events(recording.events)
    assert recording.hooks.count("on_train_end") == len(bodies)
