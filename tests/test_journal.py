"""The journal: what is durable when, and that no damage passes for an earlier moment."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinclock.errors import ProtocolError, RunError
from twinclock.graph import Stage
from twinclock.journal import JOURNAL, MARK, Journal, SupersededError
from twinclock.messages import Acquire, Arm, Begin, Cancel, Disarm, Ended, Finish, Fired, Granted, Release, Start
from twinclock.stream import ClockTime

HASHES = {"config": "c" * 64, "graph": "a" * 64}
EVENTS = [
    Begin({}),
    Granted(2, {"device": ("cpu:0", "cpu:1")}),
    Ended(3, "done", {"x": [1, 2.5, None, "é"]}),
    Fired(4, "timeout"),
]


def start(kind: str) -> Start:
    return Start("main", 1, None, Stage(kind=kind, operation="A"), {}, {}, {}, {}, {})


def create(folder: Path) -> Journal:
    return Journal.create(folder, HASHES, "today")


def reopen(folder: Path, **changes: str) -> Journal:
    return Journal.open(folder, HASHES | changes, "tomorrow")


def fill(journal: Journal, number: int = 4, *, durably: bool = True) -> None:
    for index in range(number):
        commands = [start("work")] if durably else [start("decide")]
        journal.record(ClockTime(index / 7), EVENTS[index % len(EVENTS)], commands)


def num_durable(folder: Path) -> int:
    """How many events another process would find now."""
    database = sqlite3.connect(folder / JOURNAL)
    try:
        return database.execute("SELECT count(*) FROM events").fetchone()[0]
    finally:
        database.close()


def crash(folder: Path, number: int = 40) -> Path:
    """The files of a journal whose process was killed: nothing closed, the log still beside the database."""
    (folder / "alive").mkdir()
    with create(folder / "alive") as journal:
        fill(journal, number)
        return Path(shutil.copytree(folder / "alive", folder / "dead"))


def test_events_come_back_as_they_were(tmp_path):
    with create(tmp_path) as journal:
        fill(journal)
    with reopen(tmp_path) as journal:
        assert list(journal.events()) == [(index / 7, event) for index, event in enumerate(EVENTS)]
        assert journal.last_clock() == 3 / 7


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(0.0, 1e9), st.dictionaries(st.text(), json_values, max_size=3)), max_size=20))
def test_any_json_and_any_clock_comes_back_exactly(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("journal")
    noted = [(now, Ended(1, "done", values)) for now, values in rows]
    with create(folder) as journal:
        for now, event in noted:
            journal.record(ClockTime(now), event, [])
        journal.commit()
    with reopen(folder) as journal:
        assert list(journal.events()) == noted


@pytest.mark.parametrize("kind", ["work", "wait"])
def test_an_event_is_durable_before_its_effect(tmp_path, kind):
    with create(tmp_path) as journal:
        journal.record(ClockTime(0.0), Begin({}), [start("decide"), start(kind)])
        assert num_durable(tmp_path) == 1


def test_what_has_no_effect_outside_is_committed_with_the_next_that_has(tmp_path):
    inside = [
        start("decide"),
        Acquire("main", 1, None, {"device": 1}, ""),
        Release("main", 1),
        Arm("main", 1, "timeout", 1.0),
        Disarm("main", 1, "timeout"),
        Cancel("main", 1),
        Finish("main", "done", None),
    ]
    with create(tmp_path) as journal:
        for command in inside:
            journal.record(ClockTime(0.0), EVENTS[2], [command])
            assert num_durable(tmp_path) == 0
        journal.record(ClockTime(1.0), EVENTS[2], [start("work")])
        assert num_durable(tmp_path) == len(inside) + 1


def test_what_was_not_committed_is_lost_with_the_process(tmp_path):
    with create(tmp_path) as journal:
        fill(journal, 3)
        fill(journal, 2, durably=False)
    with reopen(tmp_path) as journal:
        assert len(list(journal.events())) == 3
        fill(journal, 2)
    with reopen(tmp_path) as journal:
        assert len(list(journal.events())) == 5


def test_commit_makes_everything_durable(tmp_path):
    with create(tmp_path) as journal:
        fill(journal, 2, durably=False)
        journal.commit()
        journal.commit()
        assert num_durable(tmp_path) == 2


def test_only_the_newest_incarnation_may_write(tmp_path):
    with create(tmp_path) as old:
        fill(old, 2)
        with reopen(tmp_path) as new:
            assert (old.incarnation, new.incarnation) == (1, 2)
            with pytest.raises(SupersededError, match=r"another process has gone on with this run \(incarnation 2\)"):
                fill(old, 1)
            fill(new, 1)
    assert num_durable(tmp_path) == 3


@pytest.mark.parametrize("key", ["config", "graph"])
def test_another_configuration_or_graph_is_refused(tmp_path, key):
    create(tmp_path).close()
    with pytest.raises(RunError, match=f"{key} is bbbbbbbbbbbb, but the run began with {HASHES[key][:12]}"):
        reopen(tmp_path, **{key: "b" * 64})


def test_another_version_is_refused(tmp_path, monkeypatch):
    create(tmp_path).close()
    monkeypatch.setattr("twinclock.journal.SEMANTICS", 4)
    with pytest.raises(RunError, match="semantics is 4, but the run began with 3"):
        reopen(tmp_path)


def test_a_missing_journal_is_told(tmp_path):
    with pytest.raises(RunError, match="missing; a run can't go on without its journal"):
        reopen(tmp_path)


def test_what_can_not_be_written_is_told(tmp_path):
    with pytest.raises(RunError, match="can't be written"):
        create(tmp_path / "nowhere")


def test_what_is_not_json_is_told(tmp_path):
    with create(tmp_path) as journal, pytest.raises(ProtocolError, match=r"an event that is not JSON: .*nan"):
        journal.record(ClockTime(0.0), Ended(1, "done", {"x": float("nan")}), [])


def test_a_killed_process_loses_nothing_that_was_committed(tmp_path):
    with reopen(crash(tmp_path)) as journal:
        assert len(list(journal.events())) == 40


def damaged(folder: Path) -> None:
    with pytest.raises(RunError, match="corrupted journal") as error, reopen(folder) as journal:
        (journal.snapshot(), list(journal.events()))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("position", [0.1, 0.3, 0.5, 0.7, 0.95])
def test_a_changed_byte_in_any_event_is_found(tmp_path, position):
    with create(tmp_path) as journal:
        fill(journal, 400)
    file = tmp_path / JOURNAL
    data = bytearray(file.read_bytes())
    at = data.index(b'"outcome":"done"', int(len(data) * position))
    data[at + 12] ^= 1
    file.write_bytes(data)
    damaged(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_journal_is_found(tmp_path, share):
    with create(tmp_path) as journal:
        fill(journal, 400)
    file = tmp_path / JOURNAL
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    damaged(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_a_damaged_log_does_not_pass_for_an_earlier_moment(tmp_path, share, damage):
    dead = crash(tmp_path)
    log = dead / f"{JOURNAL}-wal"
    data = bytearray(log.read_bytes())
    at = int(len(data) * share)
    if damage == "truncated":
        del data[at:]
    else:
        data[at] ^= 1
    log.write_bytes(data)
    damaged(dead)


def test_an_event_taken_out_is_found(tmp_path):
    with create(tmp_path) as journal:
        fill(journal, 10)
    database = sqlite3.connect(tmp_path / JOURNAL)
    database.execute("DELETE FROM events WHERE serial = 4").connection.commit()
    database.close()
    damaged(tmp_path)


def test_without_its_mark_a_journal_is_still_read(tmp_path):
    with create(tmp_path) as journal:
        fill(journal)
    (tmp_path / MARK).unlink()
    with reopen(tmp_path) as journal:
        assert len(list(journal.events())) == 4
        fill(journal)
    with reopen(tmp_path) as journal:
        assert len(list(journal.events())) == 8


# Snapshots


STATE = {"machine": {"next_id": 7}, "é": [1, 2.5, None]}


def test_a_snapshot_stands_for_the_events_before_it(tmp_path):
    with create(tmp_path) as journal:
        assert journal.snapshot() is None
        fill(journal, 6)
        journal.put_snapshot(STATE)
        fill(journal, 2)
    with reopen(tmp_path) as journal:
        assert journal.snapshot() == STATE
        assert [event for _, event in journal.events()] == EVENTS[:2]
        fill(journal, 1)
        journal.put_snapshot({"newer": True})
    with reopen(tmp_path) as journal:
        assert (journal.snapshot(), list(journal.events())) == ({"newer": True}, [])
        assert journal.last_clock() == 0.0, "of the last event, though it is in the journal no more"
        journal.record(ClockTime(5.0), EVENTS[1], [start("work")])
    with reopen(tmp_path) as journal:
        assert list(journal.events()) == [(5.0, EVENTS[1])]
    assert (tmp_path / MARK).read_text() == f"{10:020d}\n", "it counts all events that there ever were"


def test_what_was_noted_before_a_snapshot_is_durable_with_it(tmp_path):
    with create(tmp_path) as journal:
        fill(journal, 3, durably=False)
        journal.put_snapshot(STATE)
    with reopen(tmp_path) as journal:
        assert journal.snapshot() == STATE
        fill(journal, 2, durably=False)
    with reopen(tmp_path) as journal:
        assert list(journal.events()) == []


def test_a_journal_with_snapshots_stays_as_small_as_what_is_between_them(tmp_path):
    sizes = []
    with create(tmp_path) as journal:
        for _ in range(12):
            fill(journal, 500)
            journal.put_snapshot(STATE)
            sizes.append(sum(file.stat().st_size for file in tmp_path.iterdir()))
    assert sizes[-1] <= sizes[3]


def test_a_journal_of_a_version_without_snapshots_goes_on(tmp_path):
    with create(tmp_path) as journal:
        fill(journal, 4)
    database = sqlite3.connect(tmp_path / JOURNAL)
    database.execute("DROP TABLE snapshot").connection.commit()
    database.close()
    with reopen(tmp_path) as journal:
        assert journal.snapshot() is None
        assert len(list(journal.events())) == 4
        journal.put_snapshot(STATE)
    with reopen(tmp_path) as journal:
        assert journal.snapshot() == STATE


def test_only_the_newest_incarnation_may_put_a_snapshot(tmp_path):
    with create(tmp_path) as old:
        fill(old, 2)
        with reopen(tmp_path) as new:
            with pytest.raises(SupersededError):
                old.put_snapshot(STATE)
            assert new.snapshot() is None
            assert len(list(new.events())) == 2


class Interrupting:
    """A connection on which an interrupt comes after so many statements."""

    def __init__(self, database: sqlite3.Connection, num_statements: int) -> None:
        self._database = database
        self._left = num_statements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def execute(self, *given: Any) -> Any:
        done = self._database.execute(*given)
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt
        return done


@pytest.mark.parametrize("num_statements", range(1, 7))
def test_an_interrupt_in_the_middle_of_a_snapshot_leaves_the_one_or_the_other(tmp_path, num_statements):
    """Whoever is interrupted commits what there is, as a run does that is suspended."""
    with create(tmp_path) as journal:
        fill(journal, 4)
        journal.put_snapshot({"older": True})
        fill(journal, 3)
        whole = journal._database
        journal._database = Interrupting(whole, num_statements)
        with pytest.raises(KeyboardInterrupt):
            journal.put_snapshot({"newer": True})
        journal._database = whole
        journal.commit()
    with reopen(tmp_path) as journal:
        found = journal.snapshot(), [event for _, event in journal.events()]
        assert found in [({"older": True}, EVENTS[:3]), ({"newer": True}, [])]
        fill(journal, 2)
        journal.put_snapshot({"newest": True})
    with reopen(tmp_path) as journal:
        assert (journal.snapshot(), list(journal.events())) == ({"newest": True}, [])


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE snapshot SET data = replace(data, '7', '8')",
        "UPDATE snapshot SET serial = serial + 1",
        "UPDATE snapshot SET now_s = now_s + 1",
        "UPDATE snapshot SET chain = chain + 1",
        "DELETE FROM snapshot",
        "DELETE FROM events",
        "DELETE FROM events WHERE serial = 6",
        "UPDATE events SET data = replace(data, 'done', 'gone')",
    ],
)
def test_a_damaged_snapshot_and_events_that_do_not_follow_it_are_found(tmp_path, damage):
    with create(tmp_path) as journal:
        fill(journal, 6)
        journal.put_snapshot(STATE)
        fill(journal, 4)
    database = sqlite3.connect(tmp_path / JOURNAL)
    database.execute(damage).connection.commit()
    database.close()
    damaged(tmp_path)


@pytest.mark.parametrize("num_after", [0, 3])
def test_an_older_copy_of_the_database_does_not_pass_for_the_newest(tmp_path, num_after):
    """Whole in itself, with its snapshot, but not with all that was committed."""
    with create(tmp_path) as journal:
        fill(journal, 6)
        journal.put_snapshot(STATE)
    older = (tmp_path / JOURNAL).read_bytes()
    with reopen(tmp_path) as journal:
        fill(journal, 1 + num_after)
        journal.put_snapshot(STATE)
    (tmp_path / JOURNAL).write_bytes(older)
    damaged(tmp_path)
