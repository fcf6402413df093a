"""`check_adapter` passes an adapter that keeps the contract, and reports a breach under the clause that is broken."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from hookcore import CapabilityError, ParameterError
from hookcore.testing import AdapterCheck, Check, Feature, Harness, Result, adapter_checks, check_adapter
from tests.hookcore.testing.adapters.mutants import MUTANTS
from tests.hookcore.testing.adapters.toy import ToyHarness

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore.testing import Job


@pytest.mark.parametrize("check", adapter_checks(ToyHarness), ids=lambda check: check.name)
def test_an_adapter_that_has_everything_keeps_the_contract(check: AdapterCheck) -> None:
    """Each case works, except that a schedule and a plugin that needs views are refused by name."""
    result = check()
    expected = "refused" if check.name in {"learning_rate-under_a_schedule", "plugins-activations"} else "works"
    assert (result.verdict, bool(result.reason)) == (expected, expected == "refused")


SLOW = {
    "plugin_error-in_every_hook",
    "accumulation-from_each_update",
    "resume-in_a_new_process",
    "resume-of_evaluations_by_steps",
    "own_loader-predicts_in_a_new_process",
    "interrupts-by_ctrl_c",
    "interrupts-by_sigterm",
}
"""Cases that run only for mutants that break their clause."""


@pytest.mark.parametrize(("broken", "harness"), MUTANTS, ids=[harness.__name__ for _, harness in MUTANTS])
def test_a_breach_is_caught_under_its_clause(broken: set[Check], harness: type[Harness]) -> None:
    """Each mutant fails a case of each clause that it breaks, and passes the cases of the other clauses, apart from slow ones."""
    caught: Counter[Check] = Counter()
    for check in adapter_checks(harness):
        clause = check.check
        if clause not in broken and (check.name in SLOW or (clause is Check.PLUGINS and "reduce" not in check.name)):
            continue
        try:
            check()
        except AssertionError as error:
            assert f"{harness.name} breaks its contract: {clause}" in str(error)  # noqa: PT017 - of each that is caught
            caught[clause] += 1
    assert set(caught) == broken


def test_every_clause_has_a_breach() -> None:
    """Each clause has a mutant that breaks no other clause."""
    assert set.union(*(broken for broken, _ in MUTANTS if len(broken) == 1)) == set(Check)


def test_every_clause_is_documented() -> None:
    """docs/testing-plugins.md lists the clauses in order, word for word."""
    page = (Path(__file__).parents[4] / "docs/testing-plugins.md").read_text()
    table = re.findall(r"^\| `([A-Z_]+)` \| ([^|]+?) \|$", page, re.MULTILINE)
    assert table == [(clause.name, str(clause)) for clause in Check]


class RefusesAPlugin(ToyHarness):
    """Refuses a plugin although the trainee has what it needs."""

    refuses_plugins: ClassVar[Mapping[str, str]] = {"csv_log": "no log is written here"}

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        if "csv_log" in job.plugins.names:
            raise CapabilityError("Plugin 'csv_log' cannot be used: no log is written here.")


def test_a_plugin_that_the_adapter_refuses_is_declared() -> None:
    """A plugin is refused in the words that the harness declares; other words, or no refusal, break the contract."""

    class OtherWords(RefusesAPlugin):
        refuses_plugins: ClassVar[Mapping[str, str]] = {"csv_log": "there is no disk"}

    class NoRefusal(ToyHarness):
        refuses_plugins: ClassVar[Mapping[str, str]] = {"csv_log": "no log is written here"}

    def check_of(harness: type[Harness]) -> AdapterCheck:
        return next(check for check in adapter_checks(harness, [Check.PLUGINS]) if check.case == "csv_log")

    result = check_of(RefusesAPlugin)()
    assert (result.verdict, result.reason) == ("refused", "no log is written here")
    with pytest.raises(AssertionError, match=r"csv_log should be refused by name because there is no disk, but .* was raised"):
        check_of(OtherWords)()
    with pytest.raises(AssertionError, match="csv_log should be refused because no log is written here, but the run ended as"):
        check_of(NoRefusal)()


def test_check_adapter_returns_the_result_of_each_case() -> None:
    """The results are in the order of the clauses, with a reason for each that does not apply or is refused."""

    class Lacking(ToyHarness):
        name = "lacking"
        lacks: ClassVar[Mapping[Feature, str]] = {Feature.SEVERAL_SETS: "it has one"}

    assert check_adapter(Lacking, [Check.LEARNING_RATE, Check.EVALUATIONS]) == [
        Result("lacking", Check.EVALUATIONS, "of_several_sets", "not applicable", "it has one"),
        Result("lacking", Check.EVALUATIONS, "of_a_sanity_check", "works"),
        Result("lacking", Check.LEARNING_RATE, "stays_set", "works"),
        Result("lacking", Check.LEARNING_RATE, "of_groups", "works"),
        Result("lacking", Check.LEARNING_RATE, "under_a_schedule", "refused", "a schedule sets it"),
        Result("lacking", Check.LEARNING_RATE, "is_absent", "works"),
    ]


def test_what_is_declared_as_refused_must_be_refused() -> None:
    """A feature that is declared as refused breaks the contract if it works, or if it is refused for another reason."""

    class Modest(ToyHarness):
        name = "modest"
        refuses: ClassVar[Mapping[Feature, str]] = {Feature.SCHEDULE: "rates are wine", Feature.ACCUMULATION: "it is too much"}

    with pytest.raises(AssertionError, match="gradient accumulation should be refused because it is too much, but the run ended"):
        check_adapter(Modest, [Check.ACCUMULATION])
    with pytest.raises(AssertionError, match="should be refused by a HookcoreError with the text 'rates are wine'"):
        check_adapter(Modest, [Check.LEARNING_RATE])


@pytest.mark.parametrize(
    ("lacks", "expected"),
    [
        ({"SNAPSHOTS": "why not"}, "must be keyed by a Feature, got 'SNAPSHOTS'. Did you mean 'SNAPSHOT'?"),
        ({Feature.SNAPSHOT: " "}, r"Careless.lacks\[Feature.SNAPSHOT\] must say why, got ' '"),
    ],
)
def test_a_declaration_without_a_reason_is_refused(lacks: Mapping[Any, str], expected: str) -> None:
    """A harness that declares an unknown feature, or an empty reason, is refused when its class is made."""
    with pytest.raises(ParameterError, match=expected.replace("?", r"\?")):
        type("Careless", (Harness,), {"name": "careless", "lacks": lacks})


def test_a_harness_that_no_process_can_import_is_refused() -> None:
    """A new process cannot import a class within a function: the error says where to put it."""

    class Local(ToyHarness):
        name = "local"

    with pytest.raises(ParameterError, match="must be at the top level of a module, not of __main__"):
        check_adapter(Local, [Check.OWN_LOADER])


def test_what_a_harness_leaves_out_is_named() -> None:
    """If a harness lacks a method that a case needs, the error names the feature to declare instead."""

    class Short(Harness):
        name = "short"

    with pytest.raises(
        NotImplementedError, match=r"defines rates, unless its `lacks` or `refuses` has a reason for Feature\.LEARNING_RATE"
    ):
        Short.rates(Short.__new__(Short))
