"""Which free devices a job gets."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import twinclock as tc
from twinclock.allocator import Allocator, Sharing
from twinclock.cluster import ClusterConfig, modelled_devices
from twinclock.messages import Acquire
from twinclock.policies.placement import placing
from twinclock.stream import ClockTime

POOLS = [
    {"name": "slow", "devices_per_node": 2, "nodes": 2, "device": {"speed": 0.5, "usd_per_hour": 1.0}},
    {"name": "fast", "devices_per_node": 4, "device": {"speed": 2.0, "usd_per_hour": 4.0}},
    {"name": "free", "devices_per_node": 1},
]
HOW = ("first_fit", "best_fit", "fastest", "cheapest")


def cluster(how="first_fit", pools=POOLS):
    return ClusterConfig.model_validate({"pools": pools, "placement": how})


def placed(how, free, needed, pools=POOLS, queue="training"):
    return policy(cluster(how, pools))(free.split(), needed, asking(0, needed, queue))


def policy(config, memory_bytes=0.0):
    return placing(config, [device.name for device in modelled_devices(config)], lambda ask: memory_bytes)


def asking(id_, needed, queue="training"):
    return Acquire("main", id_, None, {"device": needed}, queue)


def test_devices_are_named_by_pool_and_stand_on_nodes():
    config = cluster()
    devices = modelled_devices(config)
    assert [(device.name, device.pool, device.node) for device in devices] == [
        ("slow:0", "slow", 0),
        ("slow:1", "slow", 0),
        ("slow:2", "slow", 1),
        ("slow:3", "slow", 1),
        *((f"fast:{index}", "fast", 0) for index in range(4)),
        ("free:0", "free", 0),
    ]
    assert config.num_devices == 9
    assert config.most_at_once() == 4


@pytest.mark.parametrize(
    ("how", "chosen"), [("first_fit", "slow:0"), ("best_fit", "free:0"), ("fastest", "fast:0"), ("cheapest", "free:0")]
)
def test_one_device_of_an_empty_cluster(how, chosen):
    everything = "slow:0 slow:1 slow:2 slow:3 fast:0 fast:1 fast:2 fast:3 free:0"
    assert placed(how, everything, 1) == (chosen,)


@pytest.mark.parametrize(
    ("how", "free", "needed", "chosen"),
    [
        ("first_fit", "slow:1 slow:2 slow:3 fast:0", 2, "slow:2 slow:3"),
        ("first_fit", "slow:1 slow:2 slow:3 fast:0", 3, "slow:2 slow:3 slow:1"),
        ("first_fit", "slow:1 fast:0 fast:3", 2, "fast:0 fast:3"),
        ("best_fit", "slow:0 slow:1 slow:2 fast:0", 1, "fast:0"),
        ("best_fit", "slow:0 slow:1 slow:2", 1, "slow:2"),
        ("fastest", "slow:0 slow:1 fast:3", 2, "slow:0 slow:1"),
        ("cheapest", "slow:0 fast:1", 1, "slow:0"),
    ],
)
def test_several_devices_are_of_one_pool_and_of_one_node_where_they_can(how, free, needed, chosen):
    assert placed(how, free, needed) == tuple(chosen.split())


@pytest.mark.parametrize("how", HOW)
def test_devices_of_different_pools_are_never_put_together(how):
    assert placed(how, "slow:0 fast:1 free:0", 2) is None


@pytest.mark.parametrize("queue", ["training", "observation"])
def test_what_something_waits_for_gets_the_fastest_devices_and_an_evaluation_the_slowest(queue):
    everything = "slow:0 slow:1 fast:0 fast:1 free:0"
    assert placed("fastest", everything, 1, queue=queue) == ("fast:0",)
    assert placed("fastest", everything, 1, queue="evaluation") == ("slow:0",)
    assert placed("fastest", "fast:0 free:0", 1, queue="evaluation") == ("free:0",)
    assert placed("fastest", "fast:0", 1, queue="evaluation") == ("fast:0",), "it does not wait for a slower one"


@pytest.mark.parametrize("how", ["first_fit", "best_fit", "cheapest"])
def test_the_others_do_not_look_at_who_asks(how):
    everything = "slow:0 slow:1 fast:0 fast:1 free:0"
    assert placed(how, everything, 1, queue="evaluation") == placed(how, everything, 1, queue="training")


@pytest.mark.parametrize("variant", ["seed", "overlapped"])
def test_evaluations_do_not_take_the_fast_devices_from_trainings(variant):
    """Triggers come faster than they are trained, and two models are stored between two requests for a device."""
    config = {
        "data": {"kind": "uniform", "num_samples": 20_000, "every": 0.02},
        "variant": variant,
        "trigger": {"kind": "amount", "n": 1000},
        "selection": {"tail": 1},
        "evaluation": {"plans": [{"kind": "slicing", "every": 50, "models": "all"}]},
        "cluster": {"placement": "fastest", "pools": [
            {"name": "fast", "devices_per_node": 2, "device": {"speed": 4.0}},
            {"name": "slow", "devices_per_node": 4, "device": {"speed": 0.5}},
        ]},
        "sim": {"costs": {"training": {"setup_s": 0.05, "samples_per_s": 500.0}, "noise_sigma": 0.0}},
    }  # fmt: skip
    if variant == "overlapped":
        config["overlap"] = {"trainings_at_once": 2}
    run = tc.run(config, on="sim")
    assert run.evaluations.height > 100
    assert set(run.trainings["device"]) == {"fast:0", "fast:1"} if variant == "overlapped" else {"fast:0"}


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.sampled_from(HOW), st.integers(0, 10_000))
def test_an_allocator_with_pools_grants_what_fits_and_loses_nothing(how, seed):
    random = Random(seed)
    config = cluster(how)
    names = [device.name for device in modelled_devices(config)]
    allocator = Allocator({"device": names}, {"device": Sharing(place=policy(config))})
    waiting, held, now = [], {}, 0.0
    for id_ in range(60):
        now += 1.0
        if held and random.random() < 0.45:
            leaver = random.choice(sorted(held))
            del held[leaver]
            grants = allocator.release(("main", leaver))
        else:
            waiting.append(id_)
            grants = allocator.request(asking(id_, random.randint(1, 4)), ClockTime(now))
        for _, (granted, placement) in grants:
            assert granted == waiting.pop(0), "in the order of asking"
            held[granted] = placement["device"]
            assert len({name.partition(":")[0] for name in placement["device"]}) == 1
        in_use = [name for units in held.values() for name in units]
        assert len(in_use) == len(set(in_use))
    for leaver in sorted(held):
        for _, (granted, placement) in allocator.release(("main", leaver)):
            held[granted] = placement["device"]
            waiting.remove(granted)


def test_a_job_gets_devices_that_have_the_memory_for_it():
    pools = [
        {"name": "small", "devices_per_node": 4, "device": {"memory_bytes": 16e9}},
        {"name": "large", "devices_per_node": 2, "device": {"memory_bytes": 80e9}},
        {"name": "untold", "devices_per_node": 1},
    ]
    free = ["small:0", "small:1", "small:2", "large:0", "large:1", "untold:0"]
    place = policy(cluster(pools=pools), memory_bytes=40e9)
    assert place(free, 1, asking(0, 1)) == ("large:0",)
    assert place(["small:0", "untold:0"], 1, asking(0, 1)) == ("untold:0",)
    assert place(["small:0", "small:1"], 1, asking(0, 1)) is None
    halves = ClusterConfig.model_validate({"pools": pools, "jobs_per_device": 2})
    assert policy(halves, memory_bytes=41e9)(free, 1, asking(0, 1)) == ("untold:0",)


def test_more_than_any_pool_has_is_refused():
    config = cluster()
    names = [device.name for device in modelled_devices(config)]
    allocator = Allocator({"device": names}, {"device": Sharing(place=policy(config))})
    with pytest.raises(ValueError, match="needs 5 device"):
        allocator.request(asking(1, 5), ClockTime(0.0))
