"""Every sample is taken in once, counts for one training or waits, and is trained on only once it is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from simulated import StageRun, positions_in

from dst.witness import Seen, Witness
from twinclock.dataset import TableConfig, load_table
from twinclock.lateness import handover
from twinclock.live import Pace


def batches_hold_each_sample_once(witnessed: Witness) -> None:
    """All that was taken, without gaps, in order; without a stop that is the whole stream."""
    for seen in witnessed.pipelines.values():
        batches = seen.run.batches
        assert batches["batch"].to_list() == list(range(batches.height))
        edges = [0, *batches["stop"]]
        assert batches["first"].to_list() == edges[:-1], "a gap between batches, or an overlap"
        if seen.is_done:
            assert edges[-1] == seen.taken
            assert seen.was_stopped or seen.taken == seen.stream.num_samples, "samples were never taken in"


def chunks_follow_one_another(witnessed: Witness) -> None:
    """What REPLAY_DATA and FETCH_NEW_DATA take begins where the last chunk ended."""
    for seen in witnessed.pipelines.values():
        chunks = [each.values["chunk"] for each in seen.ended("REPLAY_DATA", "FETCH_NEW_DATA", "WAIT_FOR_NEW_DATA")
                  if "chunk" in each.values]  # fmt: skip
        assert [chunk["first"] for chunk in chunks] == [0, *(chunk["stop"] for chunk in chunks)][: len(chunks)]
        assert all(chunk["first"] <= chunk["stop"] for chunk in chunks)


def whoever_is_stopping_takes_no_more(witnessed: Witness) -> None:
    """After an interrupt no chunk is taken, but for what had been waited for when it came."""
    for seen in witnessed.pipelines.values():
        if seen.stopped_s is not None:
            for each in seen.of("REPLAY_DATA", "FETCH_NEW_DATA"):
                late = each.outcome == "chunk" and each.started_s > seen.stopped_s
                assert not late, f"{each.path} takes samples at {each.started_s} s, stopped at {seen.stopped_s} s"


def what_came_too_late_is_counted(witnessed: Witness) -> None:
    """Rows of the file are quarantined, or samples with a position."""
    for seen in witnessed.pipelines.values():
        data = seen.run.config.data
        quarantined = seen.run.batches["quarantined"].sum()
        if not isinstance(data, TableConfig) or data.allowed_lateness is None:
            assert quarantined == 0
        elif seen.is_done and not seen.was_stopped:
            rows = load_table(data.model_copy(update={"allowed_lateness": 1e12})).num_samples
            assert quarantined + seen.stream.num_samples == rows


def live_samples_are_there_when_they_are_taken(witnessed: Witness) -> None:
    """No chunk holds a sample that is yet to come; in replay there is no such thing."""
    for seen in witnessed.pipelines.values():
        config = seen.run.config
        if config.mode == "live":
            moment = handover(seen.stream).moment
            pace = Pace(seen.stream.timestamp(0), config.live.speed_up)
            for each in seen.of("FETCH_NEW_DATA"):
                if each.outcome == "chunk":
                    newest = moment(each.values["chunk"]["stop"] - 1)
                    assert newest <= pace.data_time(each.started_s), f"{each.path} takes a sample before it comes"


def trained_samples_were_there_and_labelled(witnessed: Witness) -> None:
    """A training set has samples that were taken before, no newer than its trigger, whose labels were known by then."""
    for seen in witnessed.pipelines.values():
        delay_s, stream = seen.run.config.data.label_delay, seen.stream
        cut = [(run.finished, batch["stop"]) for run in seen.of("HANDLE_NEW_DATA") for batch in run.values["batches"]]
        for each in seen.of("RUN_TRAINING"):
            trigger, taken = each.trigger, max(stop for finished, stop in cut if finished < each.began)
            ranges = each.start.inputs["training_set"]["ranges"]
            last = max((stop for _, stop in ranges), default=0) - 1
            assert last <= trigger["position"] < taken, f"trained on sample {last} at {trigger['position']}"
            if last >= 0:
                now_ts = stream.timestamp(trigger["position"])
                known_ts = stream.timestamp(last) + delay_s
                assert known_ts <= now_ts + 1e-9 * abs(now_ts), f"the label of {last} was not known at {now_ts}"


def training_sets_have_no_sample_twice(witnessed: Witness) -> None:
    """And hold as many as they say, no more than the ranges that they are drawn from."""
    for seen in witnessed.pipelines.values():
        for each in seen.of("RUN_TRAINING"):
            recipe = each.start.inputs["training_set"]
            positions = list(positions_in(recipe["ranges"]))
            assert len(positions) == len(set(positions))
            assert 0 < recipe["num_samples"] <= len(positions)


def each_sample_counts_for_one_training_or_waits(witnessed: Witness) -> None:
    """Also those of trainings that were dropped, put together, stopped, or that failed for good."""
    for name, seen in witnessed.pipelines.items():
        if not seen.is_done:
            continue
        counted = np.zeros(seen.taken, int)
        for ended in seen.ended("STORE_TRAINED_MODEL"):
            if ended.outcome == "done":
                counted[list(own_samples(ended.trigger))] += 1
        for informed in seen.of("INFORM_SELECTOR_AND_TRIGGER"):
            own = own_samples(informed.values["trigger"])
            if informed.outcome == "empty" and own:  # it has spent them, if a presample leaves none of them
                assert _may_leave_none(seen.run.config.selection, len(own)), f"{name}: {informed.path} trains nothing"
                counted[list(own)] += 1
        selector = last_written(seen, "selector")
        waiting = [[0, 0]] if selector is None else [[selector["first"], selector["informed"]], *selector["owed"]]
        given_back = [entry for run in seen.ended("TRAINING_SKIPPED") for entry in run.values["skipped"]]
        for entry in given_back[0 if selector is None else selector["returned"] :]:
            waiting += entry["ranges"]
        for first, stop in waiting:
            counted[first:stop] += 1
        wrong = np.flatnonzero(counted != 1)
        assert not len(wrong), f"{name}: samples that count never, or twice: {wrong[:5]} {counted[wrong[:5]]}"


def _may_leave_none(selection, num_own: int) -> bool:
    """Can a presample of a trigger with so many samples of its own be empty?"""
    if selection.kind != "new_data" or selection.presample is None:
        return False
    least = 1 if selection.window is not None else min(num_own, selection.limit or num_own)
    return least * selection.presample.ratio < 1


def every_trigger_has_one_fate(witnessed: Witness) -> None:
    """Stored, given back, stopped for a newer one, dropped, put together with a newer one, or empty from the start."""
    for seen in witnessed.pipelines.values():
        if not seen.is_done:
            continue
        fired = [each for each in seen.of("INFORM_SELECTOR_AND_TRIGGER") if each.outcome == "trigger"]
        admitted = seen.of("ADMIT_TRIGGER")
        dropped = [each.start.inputs["trigger"]["serial"] for each in admitted if each.outcome == "dropped"]
        coalesced = [
            each.start.registers["pending"]["waiting"][-1]["trigger"]["serial"]
            for each in admitted
            if each.outcome == "pending"
        ]
        stored = [each.trigger["serial"] for each in seen.of("STORE_TRAINED_MODEL") if each.outcome == "done"]
        given_back = [each.trigger["serial"] for each in seen.of("TRAINING_SKIPPED") if each.values["skipped"]]
        superseded = [serial for each in seen.of("PREEMPT") for serial in each.values.get("superseded", ())]
        fates = Counter(dropped + coalesced + stored + given_back + superseded)
        # a victim whose samples were given back while it was being stopped is counted where it gave them back
        both = set(superseded) & set(given_back)
        fates.subtract(both)
        assert fates == Counter(each.values["trigger"]["serial"] for each in fired), "a trigger without a fate, or two"


def fires_become_triggers_in_order(witnessed: Witness) -> None:
    """Serials count up, own samples of triggers follow one another, and each ends with its position."""
    for seen in witnessed.pipelines.values():
        run = seen.run
        assert run.triggers["trigger"].is_unique().all()
        informed = seen.ended("INFORM_SELECTOR_AND_TRIGGER")
        positions = [each.values["trigger"]["position"] for each in informed]
        assert positions == sorted(positions), "a trigger fires before one that fired earlier"
        for earlier, later in pairwise(each.values["trigger"] for each in informed):
            assert later["serial"] in (earlier["serial"], earlier["serial"] + 1)
        for each in informed:
            fire = each.start.inputs["fire"]["position"]
            batch = each.start.labels["batch"]
            assert fire == each.values["trigger"]["position"] < max(batch["stop"], 1)


def decisions_are_about_what_was_seen(witnessed: Witness) -> None:
    """What a policy says is about samples up to the end of its batch, and what it has observed lies there too."""
    for seen in witnessed.pipelines.values():
        for each in seen.of("HANDLE_TRIGGERS_WITHIN_BATCH"):
            stop = each.start.inputs["batch"]["stop"]
            for decision in each.values.get("decisions", ()):
                assert decision["stop"] <= stop, f"{each.path}: {decision} looks ahead of {stop}"
            observed = each.start.inputs["observation"]
            assert observed is None or observed["stop"] <= stop
        for each in seen.of("OBSERVE"):
            assert each.start.inputs["request"]["stop"] <= each.start.labels["batch"]["stop"]


def triggers_fire_where_the_definition_says(witnessed: Witness) -> None:
    """For the kinds that only count or look at data time: at the same positions in every variant and mode."""
    for seen in witnessed.pipelines.values():
        trigger = seen.run.config.trigger
        if trigger.kind in ("amount", "always", "time") and seen.is_done:
            found = [each.values["fire"]["position"] for each in seen.ended("HANDLE_TRIGGERS_WITHIN_BATCH")
                     if each.outcome == "fired"]  # fmt: skip
            meant = list(_fires(trigger, seen.stream.timestamps(0, seen.stream.num_samples).tolist()))
            assert found == meant[: len(found)]
            assert seen.was_stopped or len(found) == len(meant), f"fired {len(found)} times, not {len(meant)}"


def _fires(trigger, times: list[float]) -> Iterator[int]:
    if trigger.kind != "time":
        yield from (i for i in range(len(times)) if (i + 1) % trigger.n == 0)
        return
    boundary = (times[0] if trigger.start is None else trigger.start) + trigger.every
    closed = 0
    for i, ts in enumerate(times):
        while ts >= boundary:
            yield i - 1
            closed = i
            boundary += trigger.every
    if trigger.final and closed < len(times):
        yield len(times) - 1


def training_sets_follow_their_recipe(witnessed: Witness) -> None:
    """Whose samples are in a set, by definition, for selections that need no drawing and no clock to say so."""
    for seen in witnessed.pipelines.values():
        method, delay_s = seen.run.config.selection, seen.run.config.data.label_delay
        if method.kind == "new_data" and method.presample is None and method.window is None and delay_s == 0:
            _recipes(seen)


def _recipes(seen: Seen) -> None:
    config, stream, method = seen.run.config, seen.stream, seen.run.config.selection
    counting: dict[int, set[int]] = {}
    owed: set[int] = set()
    sets: dict[int, set[int]] = {}
    num_given_back = 0
    victims: dict[int, int] = {}
    by_itself = ended_by_themselves(seen)
    for each in seen.ended("INFORM_SELECTOR_AND_TRIGGER", "ADMIT_TRIGGER", "CLAIM_TRIGGERS"):
        if each.operation == "CLAIM_TRIGGERS":
            serial = each.values["trigger"]["serial"]
            if serial in victims and victims[serial] not in by_itself:
                sets[serial] |= sets[victims[serial]]
            continue
        if each.operation == "ADMIT_TRIGGER":
            serial = each.start.inputs["trigger"]["serial"]
            if each.outcome == "dropped":
                owed |= set(positions_in(each.start.inputs["trigger"]["returned"]))
                del counting[serial]
            elif each.outcome == "preempt":
                victims[serial] = each.values["victim"]
            elif each.outcome == "pending":
                older = each.start.registers["pending"]["waiting"][-1]["trigger"]["serial"]
                sets[serial] |= sets[older]
                if older in victims:
                    victims[serial] = victims[older]
            continue
        given_back = each.start.registers["skipped"]["items"]
        owed |= {p for entry in given_back[num_given_back:] for p in positions_in(entry["ranges"])}
        num_given_back = len(given_back)
        counting = {serial: own for serial, own in counting.items() if not own <= owed}
        trigger = each.values["trigger"]
        if each.outcome == "empty":
            continue
        serial, own = trigger["serial"], own_samples(trigger)
        assert own == owed | set(range(trigger["first"], trigger["stop"]))
        owed = set()
        tail = list(counting.values())[-method.tail :] if method.tail else []
        sets[serial] = set(range(trigger["stop"])) if method.tail is None else own.union(*tail)
        counting[serial] = own
    for each in seen.of("RUN_TRAINING"):
        recipe = each.start.inputs["training_set"]
        meant = sets[recipe["trigger"]]
        assert recipe["trigger"] == each.trigger["serial"]
        found = set(positions_in(recipe["ranges"]))
        if method.tail and num_given_back and config.overlap is not None:
            # the selector remembers few of the triggers before: of many that fail while others wait, or are dropped,
            # it may find fewer than `tail` that count
            assert own_samples(each.trigger) <= found <= meant
            meant = found
        assert found == meant, f"training set of trigger {recipe['trigger']}: {sorted(found ^ meant)[:5]} differ"
        assert recipe["num_samples"] == min(len(meant), method.limit or len(meant))
        kept = sorted(meant)[-recipe["num_samples"] :] if method.keep == "last" else sorted(meant)
        assert (recipe["first_ts"], recipe["last_ts"]) == (stream.timestamp(kept[0]), stream.timestamp(kept[-1]))


def own_samples(trigger) -> set[int]:
    """Those that no other trigger counts."""
    return {*positions_in(trigger["returned"]), *range(trigger["first"], trigger["stop"])}


def last_written(seen: Seen, register: str):
    """The last value that a register was given; None if it was given none."""
    writers: Iterable[StageRun] = [run for run in seen.trace.runs if register in run.values]
    last = max(writers, key=lambda run: run.finished, default=None)
    return None if last is None else last.values[register]


def ended_by_themselves(seen: Seen) -> set[int]:
    """Serials of the triggers whose model was stored in the end, or whose samples were given back."""
    given_back = [each for each in seen.ended("TRAINING_SKIPPED") if each.values["skipped"]]
    return {each.trigger["serial"] for each in (*settled_in(seen), *given_back)}


def settled_in(seen: Seen) -> list[StageRun]:
    """The stage runs that put a model on record, in the order in which they ended: stores, or verdicts of the gate."""
    if seen.run.config.training.gate is None:
        return [each for each in seen.ended("STORE_TRAINED_MODEL") if each.outcome == "done"]
    return [each for each in seen.ended("ACTIVATE_MODEL") if each.outcome in ("activated", "rejected")]
