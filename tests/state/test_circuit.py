"""After a failure one tries, and the others are told at once."""

from __future__ import annotations

import asyncio

import pytest

from tailseal.state.postgres.circuit import Circuit, Shut


def fail(circuit: Circuit) -> None:
    with pytest.raises(ZeroDivisionError), circuit.passing():
        raise ZeroDivisionError


def test_after_a_failure_nobody_passes_for_the_pause_and_then_everybody_whom_a_success_lets_in() -> None:
    now = [0.0]
    circuit = Circuit(lambda: now[0], 1.0)
    with circuit.passing():
        pass
    fail(circuit)
    with pytest.raises(Shut), circuit.passing():
        raise AssertionError
    now[0] = 1.0
    with circuit.passing(), pytest.raises(Shut), circuit.passing():
        raise AssertionError
    with circuit.passing(), circuit.passing():
        pass


def test_a_trial_that_fails_shuts_for_another_pause() -> None:
    now = [0.0]
    circuit = Circuit(lambda: now[0], 1.0)
    fail(circuit)
    now[0] = 1.0
    fail(circuit)
    now[0] = 1.9
    with pytest.raises(Shut), circuit.passing():
        raise AssertionError
    now[0] = 2.0
    with circuit.passing():
        pass


@pytest.mark.parametrize(("raised", "answers"), [(KeyError(), (KeyError,)), (asyncio.CancelledError(), ())])
def test_what_is_an_answer_and_who_gives_up_keeps_nobody_out(
    raised: BaseException, answers: tuple[type[Exception], ...]
) -> None:
    now = [0.0]
    circuit = Circuit(lambda: now[0], 1.0)
    with pytest.raises(type(raised)), circuit.passing(*answers):
        raise raised
    with circuit.passing():
        pass
    fail(circuit)
    now[0] = 1.0
    with pytest.raises(type(raised)), circuit.passing(*answers):
        raise raised
    with circuit.passing():
        pass
