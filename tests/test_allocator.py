"""Who is granted which units, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinclock.allocator import Allocator, Grant, Key
from twinclock.messages import Placement
from twinclock.stream import ClockTime

UNITS = {"device": ("d0", "d1", "d2"), "training_slot": ("t0",), "admission": ("a0",)}
PATIENCE_S = {"evaluation": 600.0, "training": 0.0}


def key(id_: int) -> Key:
    return ("main", id_)


class Line:
    """An allocator that is told what happens in few words."""

    def __init__(self, units: Mapping[str, Sequence[str]] = UNITS) -> None:
        self.allocator = Allocator(units, PATIENCE_S)

    def ask(self, id_: int, queue: str = "training", now: float = 0.0, **needs: int) -> list[str]:
        return told(self.allocator.request(key(id_), needs, queue, ClockTime(now)))

    def let_go(self, id_: int) -> list[str]:
        return told(self.allocator.release(key(id_)))


def told(grants: list[Grant]) -> list[str]:
    return [f"{grant.key[1]}: {' '.join(u for units in grant.placement.values() for u in units)}" for grant in grants]


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
    line.allocator.adopt(key(7), {"device": ("d1",)})
    assert line.ask(8, device=2) == ["8: d0 d2"]
    assert line.ask(9, device=1) == []
    assert line.let_go(7) == ["9: d1"]


@pytest.mark.parametrize("units", [("d0",), ("d9",), ("d1", "d0"), ("d1", "d1")])
def test_units_that_are_not_free_can_not_be_taken_over(units):
    line = Line()
    line.ask(1, device=1)
    with pytest.raises(ValueError, match=f"unit '{units[-1]}' of 'device' is not there, or held already"):
        line.allocator.adopt(key(7), {"device": units})
    assert line.allocator.held() == {key(1): {"device": ("d0",)}}
    assert line.ask(2, device=2) == ["2: d1 d2"], "nothing was taken"


class Books:
    """What an allocator has been asked and has granted; asserts its rules after every operation."""

    def __init__(self) -> None:
        self.allocator = Allocator(UNITS, PATIENCE_S)
        self.waiting: dict[Key, tuple[tuple[float, int], Mapping[str, int]]] = {}
        """Key → place in the line, needs."""
        self.held: dict[Key, Placement] = {}
        self.log: list[list[Grant]] = []
        self.now_s = 0.0

    def free(self, resource: str) -> list[str]:
        taken = {unit for placement in self.held.values() for unit in placement.get(resource, ())}
        return [unit for unit in UNITS[resource] if unit not in taken]

    def ask(self, id_: int, needs: Mapping[str, int], queue: str) -> None:
        self.waiting[key(id_)] = ((self.now_s + PATIENCE_S[queue], len(self.log)), needs)
        self.granted(self.allocator.request(key(id_), needs, queue, ClockTime(self.now_s)))

    def let_go(self, who: Key) -> None:
        self.waiting.pop(who, None)
        self.held.pop(who, None)
        self.granted(self.allocator.release(who))

    def granted(self, grants: list[Grant]) -> None:
        self.log.append(grants)
        for who, placement in grants:
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
    allocator = Allocator(UNITS, PATIENCE_S)
    asked_s: dict[int, float] = {}
    held: list[Key] = []
    order: list[int] = []

    def note(grants: list[Grant]) -> None:
        order.extend(grant.key[1] for grant in grants)
        held.extend(grant.key for grant in grants)

    for id_ in range(200):
        now_s = 10.0 * id_
        asked_s[id_] = now_s
        queue = "evaluation" if id_ == 20 else "training"
        note(allocator.request(key(id_), {"device": rng.randint(1, 3)}, queue, ClockTime(now_s)))
        if held and rng.random() < 0.7:
            note(allocator.release(held.pop(rng.randrange(len(held)))))
    while held:
        note(allocator.release(held.pop()))
    assert sorted(order) == sorted(asked_s)
    passed_by = order[: order.index(20)]
    assert max((asked_s[id_] for id_ in passed_by), default=0.0) < asked_s[20] + 600.0


# Units that come and go


def test_what_is_out_is_granted_to_nobody():
    allocator = Allocator({"device": ("a", "b"), "slot": ("s",)})
    allocator.take_out(["a"])
    assert [grant.placement["device"] for grant in allocator.request(("p", 1), {"device": 1}, "", 0.0)] == [("b",)]
    assert allocator.request(("p", 2), {"device": 1}, "", 1.0) == []
    assert allocator.request(("p", 3), {"slot": 1}, "", 1.0)[0].key == ("p", 3)
    assert allocator.put_back(["a"]) == [Grant(("p", 2), {"device": ("a",)})]


def test_who_holds_what_is_taken_out_gives_back_only_the_rest():
    allocator = Allocator({"device": ("a", "b", "c")})
    allocator.request(("p", 1), {"device": 2}, "", 0.0)
    allocator.take_out(["a", "c"])
    assert allocator.held() == {("p", 1): {"device": ("b",)}}
    assert allocator.request(("p", 2), {"device": 2}, "", 1.0) == []
    assert allocator.release(("p", 1)) == []
    assert allocator.put_back(["c"]) == [Grant(("p", 2), {"device": ("b", "c")})]
    assert allocator.release(("p", 2)) == []
    assert allocator.put_back(["a"]) == []
    assert allocator.request(("p", 3), {"device": 3}, "", 2.0) == [Grant(("p", 3), {"device": ("a", "b", "c")})]


def test_what_waits_for_more_than_is_there_waits_and_is_not_refused():
    allocator = Allocator({"device": ("a", "b")})
    allocator.take_out(["b"])
    assert allocator.request(("p", 1), {"device": 2}, "", 0.0) == []
    with pytest.raises(ValueError, match="needs 3 device"):
        allocator.request(("p", 2), {"device": 3}, "", 0.0)


def test_what_is_out_can_not_be_taken_out_again():
    allocator = Allocator({"device": ("a", "b")})
    allocator.take_out(["a"])
    with pytest.raises(ValueError, match="can't take out a: not there, or out already"):
        allocator.take_out(["a"])
