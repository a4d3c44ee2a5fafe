"""Who is granted which units, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinclock.allocator import Allocator, Answer, Key, Sharing
from twinclock.messages import Acquire, Granted, Placement
from twinclock.stream import ClockTime

UNITS = {"device": ("d0", "d1", "d2"), "training_slot": ("t0",), "admission": ("a0",)}
PATIENCE_S = {"evaluation": 600.0, "training": 0.0}


def by_patience(ask: Acquire, now: float) -> float:
    return now + PATIENCE_S.get(ask.queue, 0.0)


def sharing(**of_devices) -> dict[str, Sharing]:
    plain = {"training_slot": Sharing(by_patience), "admission": Sharing(by_patience)}
    return {**plain, "device": Sharing(**{"rank": by_patience, **of_devices})}


def key(id_: int) -> Key:
    return ("main", id_)


def asking(id_: int, needs: Mapping[str, int], queue: str = "training", *, yields: bool = False) -> Acquire:
    return Acquire("main", id_, None, needs, queue, None, yields)


class Line:
    """An allocator that is told what happens in few words."""

    def __init__(self, units: Mapping[str, Sequence[str]] = UNITS, **of_devices) -> None:
        self.allocator = Allocator(units, sharing(**of_devices) if "training_slot" in units else None)

    def ask(
        self, id_: int, queue: str = "training", now: float = 0.0, *, yields: bool = False, **needs: int
    ) -> list[str]:
        return told(self.allocator.request(asking(id_, needs, queue, yields=yields), ClockTime(now)))

    def let_go(self, id_: int) -> list[str]:
        return told(self.allocator.release(key(id_)))


def told(answers: list[Answer]) -> list[str]:
    return [
        f"{event.id}: {' '.join(u for units in event.placement.values() for u in units)}"
        if isinstance(event, Granted)
        else f"{event.id} recalled"
        for _, event in answers
    ]


def test_what_is_free_is_granted_at_once_lowest_units_first():
    line = Line()
    assert line.ask(1, device=2) == ["1: d0 d1"]
    assert line.ask(2, device=1) == ["2: d2"]
    assert line.let_go(1) == []
    assert line.ask(3, device=1) == ["3: d0"]
    assert line.let_go(2) == []
    assert line.ask(4, device=2) == ["4: d1 d2"]


def test_units_have_the_order_in_which_they_were_named():
    line = Line({"device": ("gpu:10", "gpu:9")})
    assert line.ask(1, device=2) == ["1: gpu:10 gpu:9"]
    line.let_go(1)
    assert line.ask(2, device=1) == ["2: gpu:10"]


def test_a_request_is_granted_whole_or_not_at_all():
    line = Line()
    line.ask(1, device=2, training_slot=1)
    assert line.ask(2, device=1, training_slot=1) == []
    assert line.allocator.held() == {key(1): {"device": ("d0", "d1"), "training_slot": ("t0",)}}
    assert line.let_go(1) == ["2: d0 t0"]


def test_requests_of_one_queue_are_granted_in_the_order_of_asking():
    line = Line()
    line.ask(1, device=3)
    assert [line.ask(id_, device=1, now=1.0) for id_ in (5, 3, 4)] == [[], [], []]
    assert line.let_go(1) == ["5: d0", "3: d1", "4: d2"]


def test_a_large_request_is_not_starved_by_small_ones_behind_it():
    line = Line()
    line.ask(1, device=1)
    assert line.ask(2, device=3) == []
    assert line.ask(3, device=1) == [], "there is a free unit, but it is being kept for the large request"
    assert line.let_go(1) == ["2: d0 d1 d2"]
    assert line.let_go(2) == ["3: d0"]


def test_what_waits_holds_nobody_back_who_needs_something_else():
    line = Line()
    line.ask(1, training_slot=1)
    assert line.ask(2, training_slot=1) == []
    assert line.ask(3, device=1) == ["3: d0"]


def test_what_is_held_back_holds_back_in_its_turn():
    line = Line()
    line.ask(1, training_slot=1)
    assert line.ask(2, training_slot=1, device=1) == []
    assert line.ask(3, device=1) == []
    assert line.let_go(1) == ["2: t0 d0", "3: d1"]


def test_what_is_held_back_by_another_holds_back_too():
    line = Line()
    line.ask(1, training_slot=1)
    line.ask(2, device=3)
    assert line.ask(3, training_slot=1) == []
    assert line.ask(4, training_slot=1, admission=1) == []
    assert line.ask(5, admission=1) == [], "else those who need little could pass 4 again and again"
    assert line.let_go(1) == ["3: t0"]
    assert line.let_go(3) == ["4: t0 a0"]
    assert line.let_go(4) == ["5: a0"]


def test_the_patient_let_others_pass_but_not_for_ever():
    line = Line()
    line.ask(0, device=3)
    line.ask(1, "evaluation", now=0.0, device=3)
    line.ask(2, "training", now=500.0, device=3)
    line.ask(3, "training", now=601.0, device=3)
    assert line.let_go(0) == ["2: d0 d1 d2"]
    assert line.let_go(2) == ["1: d0 d1 d2"]
    assert line.let_go(1) == ["3: d0 d1 d2"]


def test_an_unknown_queue_has_no_patience():
    line = Line()
    line.ask(0, device=3)
    line.ask(1, "evaluation", now=0.0, device=3)
    line.ask(2, "", now=1.0, device=3)
    assert line.let_go(0) == ["2: d0 d1 d2"]


def test_a_request_that_waits_can_be_withdrawn_and_frees_those_behind_it():
    line = Line()
    line.ask(1, device=1)
    line.ask(2, device=3)
    line.ask(3, device=2)
    assert line.let_go(2) == ["3: d1 d2"]
    assert line.let_go(1) == []
    assert line.let_go(2) == [], "nothing of it is left"


def test_what_can_never_be_granted_is_refused_at_once():
    line = Line()
    with pytest.raises(ValueError, match="needs 4 device; there are 3 in all"):
        line.ask(1, device=4)
    with pytest.raises(ValueError, match="needs 1 gpu; there are 0 in all"):
        line.ask(1, gpu=1)
    assert line.ask(2, device=3) == ["2: d0 d1 d2"], "the refused request is not in the line"


def test_units_granted_before_a_crash_are_taken_over():
    line = Line()
    line.allocator.adopt(asking(7, {"device": 1}), {"device": ("d1",)})
    assert line.ask(8, device=2) == ["8: d0 d2"]
    assert line.ask(9, device=1) == []
    assert line.let_go(7) == ["9: d1"]


@pytest.mark.parametrize("units", [("d0",), ("d9",), ("d1", "d0"), ("d1", "d1")])
def test_units_that_are_not_free_can_not_be_taken_over(units):
    line = Line()
    line.ask(1, device=1)
    with pytest.raises(ValueError, match=f"{', '.join(units)} of 'device' are not all there, or not all free"):
        line.allocator.adopt(asking(7, {"device": len(units)}), {"device": units})
    assert line.allocator.held() == {key(1): {"device": ("d0",)}}
    assert line.ask(2, device=2) == ["2: d1 d2"], "nothing was taken"


class Books:
    """What an allocator has been asked and has granted; asserts its rules after every operation."""

    def __init__(self) -> None:
        self.allocator = Allocator(UNITS, sharing())
        self.waiting: dict[Key, tuple[tuple[float, int], Mapping[str, int]]] = {}
        """Key → place in the line, needs."""
        self.held: dict[Key, Placement] = {}
        self.log: list[list[Answer]] = []
        self.now_s = 0.0

    def free(self, resource: str) -> list[str]:
        taken = {unit for placement in self.held.values() for unit in placement.get(resource, ())}
        return [unit for unit in UNITS[resource] if unit not in taken]

    def ask(self, id_: int, needs: Mapping[str, int], queue: str) -> None:
        self.waiting[key(id_)] = ((self.now_s + PATIENCE_S[queue], len(self.log)), needs)
        self.granted(self.allocator.request(asking(id_, needs, queue), ClockTime(self.now_s)))

    def let_go(self, who: Key) -> None:
        self.waiting.pop(who, None)
        self.held.pop(who, None)
        self.granted(self.allocator.release(who))

    def granted(self, answers: list[Answer]) -> None:
        self.log.append(answers)
        for pipeline, (id_, placement) in answers:
            who = (pipeline, id_)
            place, needs = self.waiting.pop(who)
            assert {resource: len(units) for resource, units in placement.items()} == needs, "not whole"
            assert not any(p < place and n.keys() & needs for p, n in self.waiting.values()), "out of turn"
            for resource, units in placement.items():
                assert list(units) == self.free(resource)[: len(units)], "not the lowest that are free"
            self.held[who] = placement
        assert self.allocator.held() == self.held
        for place, needs in self.waiting.values():
            fits = all(len(self.free(resource)) >= units for resource, units in needs.items())
            is_first = not any(p < place and n.keys() & needs for p, n in self.waiting.values())
            assert not (fits and is_first), "kept waiting for nothing"


def a_day(rng: Random) -> Books:
    """Random requests, returns and withdrawals, until all that was asked for has been granted and given back."""
    books = Books()
    for id_ in range(rng.randint(1, 60)):
        books.now_s += rng.choice((0.0, 1.0, 100.0))
        resources = rng.sample(sorted(UNITS), rng.randint(1, 2))
        needs = {resource: rng.randint(1, len(UNITS[resource])) for resource in resources}
        books.ask(id_, needs, rng.choice(sorted(PATIENCE_S)))
        while books.held and rng.random() < 0.5:
            books.let_go(rng.choice(sorted(books.held)))
        if books.waiting and rng.random() < 0.1:
            books.let_go(rng.choice(sorted(books.waiting)))
    while books.held:
        books.let_go(rng.choice(sorted(books.held)))
    return books


@given(st.integers(0, 2**32))
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_whatever_is_asked_the_rules_are_kept_and_everybody_is_served(seed):
    books = a_day(Random(seed))
    assert not books.waiting
    assert a_day(Random(seed)).log == books.log, "the same requests, the same grants"


@given(st.integers(0, 2**32))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_nobody_passes_who_asks_after_patience_has_run_out(seed):
    """More is asked of the devices than they can do, by those who need not wait; one evaluation waits."""
    rng = Random(seed)
    allocator = Allocator(UNITS, sharing())
    asked_s: dict[int, float] = {}
    held: list[Key] = []
    order: list[int] = []

    def note(answers: list[Answer]) -> None:
        order.extend(event.id for _, event in answers)
        held.extend(key(event.id) for _, event in answers)

    for id_ in range(200):
        now_s = 10.0 * id_
        asked_s[id_] = now_s
        queue = "evaluation" if id_ == 20 else "training"
        note(allocator.request(asking(id_, {"device": rng.randint(1, 3)}, queue), ClockTime(now_s)))
        if held and rng.random() < 0.7:
            note(allocator.release(held.pop(rng.randrange(len(held)))))
    while held:
        note(allocator.release(held.pop()))
    assert sorted(order) == sorted(asked_s)
    passed_by = order[: order.index(20)]
    assert max((asked_s[id_] for id_ in passed_by), default=0.0) < asked_s[20] + 600.0


def test_what_yields_is_recalled_for_who_does_not_the_last_granted_first_and_no_more_than_it_takes():
    line = Line()
    line.ask(1, "evaluation", device=1, yields=True)
    line.ask(2, device=1)
    line.ask(3, "evaluation", now=1.0, device=1, yields=True)
    assert line.ask(4, now=2.0, device=1) == ["3 recalled"]
    assert line.ask(5, now=3.0, device=1) == ["1 recalled"], "3 is for request 4"
    assert line.ask(6, now=4.0, device=1) == [], "nothing is left to recall"
    assert line.let_go(3) == ["4: d2"]
    assert line.let_go(1) == ["5: d0"]
    assert line.let_go(2) == ["6: d1"]


def test_nothing_is_recalled_where_all_of_it_would_not_be_enough():
    line = Line()
    line.ask(1, "evaluation", device=1, yields=True)
    line.ask(2, device=1)
    assert line.ask(3, now=1.0, device=3) == []
    assert line.let_go(2) == ["1 recalled"], "now it is"
    assert line.let_go(1) == ["3: d0 d1 d2"]


def test_what_yields_recalls_nothing_and_what_is_taken_back_is_recalled_again():
    line = Line()
    line.ask(1, "evaluation", device=3, yields=True)
    assert line.ask(2, "evaluation", now=1.0, device=1, yields=True) == []
    assert line.ask(3, now=2.0, device=1) == ["1 recalled"]
    assert line.let_go(3) == [], "who asked has gone"
    assert line.let_go(1) == ["2: d0"]
    line.ask(4, "evaluation", now=3.0, device=2, yields=True)
    assert line.ask(5, now=4.0, device=2) == ["4 recalled"]


@given(st.integers(0, 2**32))
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_nobody_who_does_not_yield_waits_while_those_who_do_hold_enough(seed):
    """Recalled units come back after a while; at every moment what is on its way back is enough for all it was for."""
    rng = Random(seed)
    allocator = Allocator(UNITS, {"device": Sharing(rank=lambda ask, now: now + 1e9 * ask.yields)})
    held: dict[int, Acquire] = {}
    waiting: dict[int, Acquire] = {}
    recalled: set[int] = set()

    def hear(answers: list[Answer]) -> None:
        for _, event in answers:
            if isinstance(event, Granted):
                held[event.id] = waiting.pop(event.id)
            else:
                assert event.id not in recalled, "recalled twice"
                assert held[event.id].yields, "does not yield"
                recalled.add(event.id)

    for id_ in range(80):
        waiting[id_] = asking(id_, {"device": rng.randint(1, 3)}, yields=rng.random() < 0.6)
        hear(allocator.request(waiting[id_], ClockTime(float(id_))))
        while held and rng.random() < 0.45:
            back = rng.choice(sorted(held))
            del held[back]
            recalled.discard(back)
            hear(allocator.release(key(back)))
        firm = [ask.needs["device"] for _, ask in sorted(waiting.items()) if not ask.yields]
        free = 3 - sum(ask.needs["device"] for ask in held.values())
        coming = sum(held[id_].needs["device"] for id_ in recalled)
        more = sum(ask.needs["device"] for id_, ask in held.items() if ask.yields and id_ not in recalled)
        if firm and firm[0] <= free + coming + more:
            assert firm[0] <= free + coming, "could have been recalled"
    while held:
        back = rng.choice(sorted(held))
        del held[back]
        recalled.discard(back)
        hear(allocator.release(key(back)))
    assert not waiting


def test_several_jobs_share_a_unit_and_spread_over_all_units_first():
    line = Line(jobs_per_unit=2)
    assert line.ask(1, device=2) == ["1: d0 d1"]
    assert line.ask(2, device=1) == ["2: d2"]
    assert line.ask(3, device=3) == ["3: d0 d1 d2"]
    assert line.ask(4, now=1.0, device=1) == []
    assert line.let_go(2) == ["4: d2"]
    assert line.let_go(3) == []
    assert line.ask(5, device=3) == ["5: d0 d1 d2"]
    line.let_go(1)
    assert line.ask(6, device=1) == ["6: d0"]


# Units that come and go


def test_what_is_out_is_granted_to_nobody():
    line = Line()
    line.allocator.take_out(["d0", "d1"])
    assert line.ask(1, device=1) == ["1: d2"]
    assert line.ask(2, now=1.0, device=1) == []
    assert line.ask(3, training_slot=1) == ["3: t0"]
    assert told(line.allocator.put_back(["d1"])) == ["2: d1"]


def test_who_holds_what_is_taken_out_gives_back_only_the_rest():
    line = Line()
    line.ask(1, device=2)
    line.allocator.take_out(["d0", "d2"])
    assert line.ask(2, now=1.0, device=2) == []
    assert line.let_go(1) == []
    assert told(line.allocator.put_back(["d2"])) == ["2: d1 d2"]
    assert line.let_go(2) == []
    assert told(line.allocator.put_back(["d0"])) == []
    assert line.ask(3, now=2.0, device=3) == ["3: d0 d1 d2"]


def test_what_waits_for_more_than_is_there_waits_and_is_not_refused():
    line = Line()
    line.allocator.take_out(["d1"])
    assert line.ask(1, device=3) == []
    with pytest.raises(ValueError, match="needs 4 device"):
        line.ask(2, device=4)


def test_what_is_out_can_not_be_taken_out_again():
    line = Line()
    line.allocator.take_out(["d0"])
    with pytest.raises(ValueError, match="can't take out d0: not there, or out already"):
        line.allocator.take_out(["d0"])
