"""Facts in, legal events out: checked in every state that can be reached, with every fact."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from hookcore import Outcome
from hookcore.sequence import Sequence
from hookcore.testing import check_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Fact = Callable[[Sequence], Iterable[tuple[Any, ...]]]


def begun_elsewhere(sequence: Sequence) -> Iterator[tuple[Any, ...]]:
    """Yield the events of a held batch that was begun by `Driver.batches`, which is allowed if only an epoch is open."""
    if sequence.open == ["epoch"] and sequence.held is None and not sequence.continues:
        yield ("batch_begin",)
        yield from sequence.batch_held(begun=True)


FACTS: Final[dict[str, Fact]] = {
    "epoch_begin": Sequence.epoch_begin,
    "epoch_begin, told its number": lambda sequence: sequence.epoch_begin(7),
    "batch_begin": Sequence.batch_begin,
    "batch_end": Sequence.batch_end,
    "batch_end of two": lambda sequence: sequence.batch_end(batches=2),
    "batch_held": Sequence.batch_held,
    "batch_held, begun elsewhere": begun_elsewhere,
    "batch_dropped": Sequence.batch_dropped,
    "settled": Sequence.settled,
    "settled, with metrics": lambda sequence: sequence.settled({"loss": 1.0}),
    "evaluate_begin": Sequence.evaluate_begin,
    "evaluate_batch_begin": Sequence.evaluate_batch_begin,
    "evaluate_batch_end": Sequence.evaluate_batch_end,
    "evaluate_batch_end of two": lambda sequence: sequence.evaluate_batch_end(batches=2),
    "evaluate_end": Sequence.evaluate_end,
    "predict_begin": Sequence.predict_begin,
    "predict_batch_begin": Sequence.predict_batch_begin,
    "predict_batch_end": Sequence.predict_batch_end,
    "predict_end": Sequence.predict_end,
    "epoch_end": Sequence.epoch_end,
    "epoch_end, with metrics": lambda sequence: sequence.epoch_end({"loss": 1.0}),
    "epoch_end, with none that is fresh": lambda sequence: sequence.epoch_end({"loss": 1.0}, fresh={}),
    "epoch_end, one evaluation to come": lambda sequence: sequence.epoch_end(hold=1),
    "epoch_end, two evaluations to come": lambda sequence: sequence.epoch_end(hold=2),
    "log": lambda sequence: sequence.log({"loss": 0.0}),
    "leave": Sequence.leave,
}


@attrs.define
class Told:
    """The events of a run as plugins get them, and the places of its batches."""

    sequence: Sequence
    events: list[tuple[Any, ...]] = attrs.field(factory=lambda: [("on_train_begin",)])
    batch: int = 0

    def copy(self) -> Told:
        return Told(attrs.evolve(self.sequence, open=list(self.sequence.open)), list(self.events), self.batch)

    def tell(self, fact: Fact) -> list[tuple[Any, ...]]:
        made = []
        for name, *given in fact(self.sequence):
            if name in {"settled", "epoch_continues", "batch_dropped"}:
                continue
            if name == "observed":
                made.append(("on_metrics", dict(given[0])))
                continue
            arguments = given[:2] if name == "epoch_end" else given
            event = (f"on_{name}", *(argument if argument is not None else {} for argument in arguments))
            if name == "epoch_begin":
                self.batch = 0
            elif name == "batch_begin":
                event = ("on_batch_begin", self.batch)
            elif name == "batches_end":
                self.batch += arguments[2]
                event = ("on_batch_end", self.batch - 1, {})
            made.append(event)
            if name == "epoch_end" and given[2] is not None:
                made.append(("on_metrics", dict(given[2])))
        self.events += made
        return made


def state(sequence: Sequence) -> tuple[Any, ...]:
    """Return what distinguishes two sequences, without their counters."""
    return (
        tuple(sequence.open),
        sequence.held,
        max(sequence.evaluations, 0),
        sequence.continues,
        sequence.left,
        sequence.is_new,
        sequence.evaluated,
        sequence.observed,
        bool(sequence.fresh),
    )


def reachable() -> dict[tuple[Any, ...], Told]:
    """Return every state that a run can reach, new or resumed within an epoch, with the shortest series of facts to it."""
    resumed = Told(Sequence(epoch=2, is_new=False, continues=True, open=["epoch"]), [("on_train_begin",), ("on_epoch_begin", 2)])
    observed = resumed.copy()
    for name in ("batch_held", "evaluate_end", "settled"):
        observed.tell(FACTS[name])
    observed.sequence.continues = True
    waiting = deque([Told(Sequence()), resumed, observed])
    found = {state(told.sequence): told for told in waiting}
    while waiting:
        told = waiting.popleft()
        for fact in FACTS.values():
            following = told.copy()
            following.tell(fact)
            if state(following.sequence) not in found:
                found[state(following.sequence)] = following
                waiting.append(following)
    return found


STATES: Final = reachable()


@pytest.mark.parametrize("first", FACTS)
def test_no_fact_in_any_state_makes_an_illegal_sequence(first: str) -> None:
    """After any facts, and whatever two facts follow, the events of the run are legal and its epochs have all ended."""
    for told in STATES.values():
        for second in FACTS.values():
            run = told.copy()
            run.tell(FACTS[first])
            run.tell(second)
            left = run.sequence.left or run.sequence.continues
            run.tell(Sequence.finish)
            check_events([*run.events, ("on_train_end", Outcome.COMPLETED)])
            begun, ended = ([event[1] for event in run.events if event[0] == f"on_epoch_{moment}"] for moment in ("begin", "end"))
            assert ended == (begun[:-1] if left else begun)
            assert run.sequence == attrs.evolve(
                Sequence(run.sequence.epoch, run.sequence.is_new), batch=run.sequence.batch, evaluations=run.sequence.evaluations
            )


def test_of_two_beginnings_of_an_epoch_the_second_is_always_heard() -> None:
    """In any state `epoch_begin` begins an epoch, except the first one in a run that was resumed within an epoch."""
    for told in STATES.values():
        run = told.copy()
        continues, epoch = run.sequence.continues, run.sequence.epoch
        begun = [event for event in run.tell(Sequence.epoch_begin) if event[0] == "on_epoch_begin"]
        assert begun == ([] if continues else [("on_epoch_begin", epoch + 1)])
        assert run.tell(Sequence.epoch_begin)[-1:] == [("on_epoch_begin", run.sequence.epoch)]


def test_metrics_belong_to_the_open_epoch_and_to_no_other() -> None:
    """In any state, metrics that are told before an epoch begins or after its end are not the epoch's."""
    for told in STATES.values():
        run = told.copy()
        run.tell(Sequence.finish)
        run.tell(lambda sequence: sequence.log({"late": 1.0}))
        run.tell(Sequence.epoch_begin)
        run.tell(lambda sequence: sequence.log({"loss": 2.0}))
        assert run.tell(Sequence.epoch_end) == [
            ("on_epoch_end", run.sequence.epoch, {"loss": 2.0}),
            ("on_metrics", {"loss": 2.0}),
        ]


def test_what_is_fresh_is_observed_once() -> None:
    """In any state, the evaluations of a held batch are one observation, with everything since the previous one."""
    for told in STATES.values():
        run = told.copy()
        run.tell(Sequence.epoch_begin)
        run.tell(Sequence.epoch_begin)  # of a run that is resumed, the first only continues its epoch
        run.tell(lambda sequence: sequence.log({"loss": 1.0}))
        run.tell(Sequence.batch_held)
        run.tell(lambda sequence: sequence.evaluate_end(named={"val_loss": 2.0}))
        run.tell(lambda sequence: sequence.evaluate_end(named={"f1": 3.0}))
        fresh = {"loss": 1.0, "val_loss": 2.0, "f1": 3.0, "rate": 4.0}
        assert run.tell(lambda sequence: sequence.settled({"rate": 4.0})) == [("on_metrics", fresh)]
        assert run.tell(lambda sequence: sequence.settled({"rate": 5.0})) == []
        own = {"loss": 1.5, "val_loss": 2.0, "f1": 3.0}
        ended = run.copy().tell(lambda sequence: sequence.epoch_end({"loss": 1.5}, fresh={}))
        assert ended == [("on_epoch_end", run.sequence.epoch, own)]
        ended = run.tell(lambda sequence: sequence.epoch_end({"loss": 1.5}, fresh={"loss": 1.2}))
        assert ended == [("on_epoch_end", run.sequence.epoch, own), ("on_metrics", {"loss": 1.2})]


@pytest.mark.parametrize(
    "facts",
    [
        ["batch_end", "evaluate_end"],
        ["batch_held", "settled", "evaluate_end"],
        ["evaluate_end", "batch_held"],
        ["batch_begin", "evaluate_end", "batch_held"],
        ["batch_held", "predict_end"],
    ],
)
def test_an_evaluation_that_is_of_no_held_batch_belongs_to_its_epoch(facts: list[str]) -> None:
    """Only an evaluation after a batch that is still held is an observation by steps."""
    run = Told(Sequence())
    for fact in [*facts, "settled, with metrics", "epoch_end, with none that is fresh"]:
        run.tell(FACTS[fact])
    assert [event[0] for event in run.events[-2:]] == ["on_epoch_end", "on_metrics"]
    assert [event[0] for event in run.events].count("on_metrics") == 1


@pytest.mark.parametrize("settles", ["settled", "batch_begin", "batch_end", "epoch_begin", "epoch_end", "leave"])
def test_whatever_settles_a_batch_observes_it(settles: str) -> None:
    """Whether `settled`, the next batch or the end settles a held batch, the observation is the same."""
    run = Told(Sequence())
    for fact in ["batch_held", "evaluate_end", settles]:
        run.tell(FACTS[fact])
    run.tell(Sequence.finish)
    told = [event[0] for event in run.events]
    assert told[told.index("on_evaluate_end") + 1] == "on_metrics"


def test_a_held_epoch_ends_when_it_is_settled() -> None:
    """A loop that does not know the number of evaluations holds the end for many, and `settled` ends the epoch."""
    run = Told(Sequence())
    run.tell(FACTS["batch_end"])
    run.tell(lambda sequence: sequence.epoch_end(hold=9))
    run.tell(FACTS["evaluate_end"])
    assert run.tell(Sequence.settled) == [("on_epoch_end", 0, {}), ("on_metrics", {})]
    assert run.tell(Sequence.settled) == []


@pytest.mark.parametrize("evaluates", [False, True])
@pytest.mark.parametrize("hold", [0, 1])
def test_what_a_held_last_batch_leads_to_goes_on_in_its_held_epoch(hold: int, *, evaluates: bool) -> None:
    """A held last batch is settled before its epoch's end, unless that is held; its evaluation is observed before."""
    sequence = Sequence()
    list(sequence.batch_held())
    if evaluates:
        list(sequence.evaluate_end())
    events = [event[0] for event in sequence.epoch_end(hold=hold)]
    assert events == (["observed"] if evaluates else []) + ([] if hold else ["settled", "epoch_end"])


def test_an_epoch_that_was_left_ends_if_training_continues() -> None:
    """After `leave`, another epoch ends the one that was left, and `epoch_end` still counts."""
    for following, events in {
        "epoch_begin": ["on_epoch_end", "on_metrics", "on_epoch_begin", "on_epoch_end", "on_metrics"],
        "epoch_end": ["on_epoch_end", "on_metrics"],
        "settled": [],
    }.items():
        run = Told(Sequence())
        for fact in ("epoch_begin", "batch_end", "leave"):
            run.tell(FACTS[fact])
        told = len(run.events)
        run.tell(FACTS[following])
        run.tell(Sequence.finish)
        assert [event[0] for event in run.events[told:]] == events


def test_an_epoch_that_the_loop_never_entered_has_no_end() -> None:
    """If a run that was resumed within an epoch ends without entering it, the epoch has no end, and can be resumed again."""
    for facts in [[], ["log"], ["evaluate_begin"], ["evaluate_begin", "evaluate_batch_end"], ["predict_end"]]:
        run = Told(Sequence(epoch=2, continues=True, open=["epoch"]), [("on_train_begin",), ("on_epoch_begin", 2)])
        for fact in facts:
            run.tell(FACTS[fact])
        run.tell(Sequence.finish)
        assert "on_epoch_end" not in [event[0] for event in run.events]
        check_events([*run.events, ("on_train_end", Outcome.COMPLETED)])


def test_the_states_are_many() -> None:
    """The search reaches every nesting of scopes, held or not, so that the tests here check many states."""
    assert len({tuple(told.sequence.open) for told in STATES.values()}) == 15
    assert len(STATES) >= 500
