"""Profile tables: what they say at their rows, between them and beyond; what is refused; the published ones."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import twinclock as tc
from sim.throughput.curves import Curve, Surface
from sim.throughput.profile import Profile, ProfileCost
from sim.throughput.protocol import Held, Job
from sim.throughput.scaling import Scaling
from sim.throughput.table import MAX_SAMPLES_PER_S, Row, built_in_names, load_table
from twinclock.config import TrainingConfig
from twinclock.errors import ConfigError
from twinclock.yaml_text import write_yaml

HALF = Scaling(0.5, {})
CURVE = Curve(((10, 50.0), (20, 80.0), (40, 100.0)))
"""Steps of 0.2, 0.25 and 0.4 s."""


def table(tmp_path, rows, **changed):
    common = {"model": "m", "device": "d", "precision": "fp16"}
    file = tmp_path / "own.yaml"
    head = {"source": "bench", "date": "2026-01", "precision": "fp16: half", "note": "mine"} | changed
    file.write_text(write_yaml({**head, "rows": [{**common, **row} for row in rows]}), encoding="utf-8")
    return str(file)


def profile(file, **changed):
    cost = ProfileCost(table=file, model="m", device="d", setup_s=0.0, **changed)
    return Profile(cost, HALF, 0.25)


def refusal(file):
    with pytest.raises(ConfigError) as caught:
        load_table(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Looking up


def test_between_two_batches_the_time_of_a_step_is_on_a_line():
    assert CURVE.step_s(15) == pytest.approx(0.225)
    assert CURVE.samples_per_s(30) == pytest.approx(30 / 0.325)


def test_below_the_smallest_batch_the_line_goes_on_and_above_the_largest_the_throughput_stays():
    assert CURVE.step_s(2) == pytest.approx(0.2 - 8 * 0.005)
    assert CURVE.samples_per_s(400) == pytest.approx(100.0)


def test_without_a_batch_the_throughput_is_the_same_for_all():
    flat = Curve(((None, 70.0),))
    assert [flat.samples_per_s(batch) for batch in (1, 64, 5000)] == pytest.approx([70.0] * 3)


def test_between_numbers_of_devices_the_throughput_is_on_a_line():
    surface = Surface({1: Curve(((None, 100.0),)), 8: Curve(((None, 730.0),))}, HALF)
    assert surface.samples_per_s(64, 1) == pytest.approx(100.0)
    assert surface.samples_per_s(64, 8) == pytest.approx(730.0)
    assert surface.samples_per_s(64, 3.5) == pytest.approx(325.0)
    assert surface.samples_per_s(64, 10) == pytest.approx(730 * 5.5 / 4.5)  # as shares of a half have it


def test_beyond_the_devices_known_the_samples_of_a_step_are_shared_out():
    """Two devices at a share of one half do 1.5 times as much: a step on 15 samples is one on 10, 0.2 s."""
    assert Surface({1: CURVE}, HALF).samples_per_s(15, 2) == pytest.approx(15 / 0.2)


@st.composite
def curves(draw):
    """Throughputs that grow with the batch, but never so much that a larger step takes less time."""
    batches = sorted(draw(st.sets(st.integers(1, 500), min_size=1, max_size=5)))
    rates = [draw(st.floats(1.0, 1000.0))]
    for small, large in pairwise(batches):
        rates.append(rates[-1] * (1 + draw(st.floats(0, 1)) * (large / small - 1)))
    return Curve(tuple(zip(batches, rates, strict=True)))


@settings(derandomize=True, deadline=None)
@given(curves())
def test_interpolation_hits_the_rows(curve):
    for batch, rate in curve.points:
        assert curve.samples_per_s(batch) == pytest.approx(rate)
        assert Surface({1: curve}, HALF).samples_per_s(batch, 1) == pytest.approx(rate)


@settings(derandomize=True, deadline=None)
@given(curves(), st.integers(1, 600), st.integers(1, 600))
def test_a_larger_batch_is_no_slower_and_its_step_no_shorter(curve, one, other):
    small, large = sorted((one, other))
    assert curve.samples_per_s(large) >= curve.samples_per_s(small) * (1 - 1e-9)
    assert curve.step_s(large) >= curve.step_s(small) * (1 - 1e-9)


@settings(derandomize=True, deadline=None)
@given(curves(), st.floats(0.01, 1.0), st.integers(1, 600), st.floats(1.0, 64.0))
def test_more_devices_are_never_slower_than_one(curve, efficiency, batch, devices):
    surface = Surface({1: curve}, Scaling(efficiency, {}))
    assert surface.samples_per_s(batch, devices) >= surface.samples_per_s(batch, 1) * (1 - 1e-9)


# A training


def test_a_training_by_hand(tmp_path):
    """Full steps of 0.25 s and one on the 10 samples left, 0.2 s; then the same on a device of twice the speed."""
    rows = [{"batch": batch, "samples_per_s": rate} for batch, rate in CURVE.points]
    source, job = profile(table(tmp_path, rows)), Job(num_samples=110, epochs=3, batch_size=20)
    assert source.seconds(job, Held()) == pytest.approx(3 * (5 * 0.25 + 0.2))
    assert source.seconds(job, Held(speed=2.0)) == pytest.approx(3 * (5 * 0.25 + 0.2) / 2)
    assert source.seconds(job, Held(), loading_s=60.0) == 60.0
    scored = Job(num_samples=110, epochs=3, batch_size=20, num_scored=80)
    assert source.seconds(scored, Held()) == pytest.approx(3 * (5 * 0.25 + 0.2) + 0.25 * 80 / 80)


def test_published_figures_are_slowed_down_and_ones_own_are_not(tmp_path):
    job = Job(num_samples=1218 * 2, epochs=1, batch_size=512)
    of = ProfileCost(table="timm", model="resnet50", device="rtx3090", setup_s=0.0)
    assert Profile(of, HALF, 0.3).seconds(job, Held()) == pytest.approx(2 * 1.5, rel=1e-3)
    full = of.model_copy(update={"efficiency": 1.0})
    assert Profile(full, HALF, 0.3).seconds(job, Held()) == pytest.approx(2, rel=1e-3)
    own = profile(table(tmp_path, [{"samples_per_s": 1218.0}]))
    assert own.seconds(job, Held()) == pytest.approx(2)


@settings(derandomize=True, deadline=None)
@given(st.sampled_from(built_in_names()), st.integers(0, 10**6), st.integers(0, 9999), st.integers(0, 99), st.data())
def test_more_samples_never_take_less_time_by_a_published_table(name, pick, num_samples, more, data):
    rows = load_table(name).rows
    row = rows[pick % len(rows)]
    cost = ProfileCost(table=name, model=row.model, device=row.device, precision=row.precision)
    batch, held = data.draw(st.integers(1, 512)), Held(data.draw(st.floats(1, 32)))
    few, many = (
        Profile(cost, HALF, 0.3).seconds(Job(count, 2, batch), held) for count in (num_samples, num_samples + more)
    )
    assert many >= few * (1 - 1e-9)
    assert few <= Profile(cost, HALF, 0.3).seconds(Job(num_samples, 2, batch), Held()) * (1 + 1e-9)


# Notes


def notes(source, **training):
    return [note.partition(":")[0] for note in source.notes(TrainingConfig(**training))]


def test_a_note_says_where_the_figures_are_from_and_each_extrapolation(tmp_path):
    batches = [{"batch": batch, "samples_per_s": rate} for batch, rate in CURVE.points]
    source = profile(table(tmp_path, batches))
    (said,) = source.notes(TrainingConfig(batch_size=30))
    assert "bench, 2026-01" in said
    assert said.endswith("times 1")
    for batch in (9, 41):
        assert any("knows batches 10 to 40" in note for note in source.notes(TrainingConfig(batch_size=batch)))
    assert any(
        "knows 1 to 1 device(s), got 2" in note for note in source.notes(TrainingConfig(devices=2, batch_size=30))
    )
    flat = profile(table(tmp_path, [{"samples_per_s": 9.0}, {"devices": 8, "samples_per_s": 60.0}]))
    assert any("does not say for which batch" in note for note in flat.notes(TrainingConfig(devices=4)))
    assert not any("device(s)" in note for note in flat.notes(TrainingConfig(devices=4)))


def test_the_notes_are_in_the_header_once_and_shown(tmp_path):
    training = {"kind": "profile", "table": "gavel", "model": "resnet50", "device": "v100"}
    run = tc.run(
        {
            "data": {"kind": "uniform", "num_samples": 100, "every": 1.0},
            "trigger": {"kind": "amount", "n": 20},
            "training": {"batch_size": 1000},
            "sim": {"costs": {"training": training}},
        },
        on="sim",
    )
    source, extrapolated = run.header["cost_notes"]
    assert "OSDI 2020" in source
    assert extrapolated.startswith("extrapolated: resnet50 on v100")
    assert "training costs" not in run.summary["uncalibrated"]


# What is refused


def test_the_billions_of_ncf_are_refused(tmp_path):
    """Lambda's list has 10 to 20 billion samples a second for NCF on four and eight H100."""
    for devices, rate in ((4, 1.03e10), (8, 2.0e10)):
        rows = [{"samples_per_s": 3.0e7}, {"devices": devices, "samples_per_s": rate}]
        text = refusal(table(tmp_path, rows))
        assert "own.yaml: rows.1 (m on d, fp16" in text
        assert f"expected at most {MAX_SAMPLES_PER_S * devices:g}, which is beyond any device" in text


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([{"samples_per_s": 0.0}], "rows.0.samples_per_s: got 0.0, expected a number > 0"),
        ([{"samples_per_s": -5.0}], "rows.0.samples_per_s: got -5.0"),
        ([{"samples_per_s": float("inf")}], "rows.0.samples_per_s: got Infinity, expected a finite number"),
        ([{"samples_per_s": float("nan")}], "rows.0.samples_per_s: got NaN"),
        ([{"samples_per_s": "fast"}], 'rows.0.samples_per_s: got "fast"'),
        ([{"samples_per_s": 5.0, "devices": 0}], "rows.0.devices: got 0"),
        ([{"samples_per_s": 5.0, "batch": 0}], "rows.0.batch: got 0"),
        ([{"samples_per_s": 5.0, "gpus": 1}], "rows.0.gpus: unknown key"),
        ([], "rows: got []"),
        ([{"samples_per_s": 5.0}] * 2, "rows.0 (m on d, fp16): expected one row for each batch"),
        ([{"samples_per_s": 5.0, "batch": 8}, {"samples_per_s": 5.0}], "expected one row for each batch"),
        (
            [{"samples_per_s": 5.0, "batch": 8}, {"samples_per_s": 4.0, "batch": 16}],
            "rows.1 (m on d, fp16, batch 16): got 4 samples/s, expected at least the 5 of batch 8",
        ),
        (
            [{"samples_per_s": 5.0, "batch": 8}, {"samples_per_s": 11.0, "batch": 16}],
            "rows.1 (m on d, fp16, batch 16): got 11 samples/s, expected at most 10, or a step would take less time",
        ),
        (
            [{"samples_per_s": 5.0}, {"samples_per_s": 4.0, "devices": 2}],
            "rows.1 (m on d, fp16, 2 devices): 4 samples/s at batch 1, expected at least the 5 of 1 device(s)",
        ),
        (
            [{"samples_per_s": 5.0}, {"samples_per_s": 11.0, "devices": 2}],
            "rows.1 (m on d, fp16, 2 devices): got 11 samples/s, expected at most 10.5, 2.1 times what 1 device(s) did",
        ),
        (
            [{"samples_per_s": 5.0, "batch": 8}, {"samples_per_s": 9.0, "devices": 2}],
            "rows.1 (m on d, fp16, 2 devices): expected a batch in the rows of every number of devices, or in none",
        ),
        (
            [{"samples_per_s": 5.0, "batch": 8}, {"samples_per_s": 11.0, "batch": 16, "devices": 2}],
            "rows.1 (m on d, fp16, 2 devices, batch 16): got 11 samples/s, expected at most 10.5",
        ),
    ],
)
def test_implausible_tables_get_a_line(tmp_path, rows, line):
    assert line in refusal(table(tmp_path, rows))


def test_scaling_a_little_beyond_perfect_is_noise(tmp_path):
    rows = [{"samples_per_s": 5.0}, {"samples_per_s": 10.4, "devices": 2}]
    assert len(load_table(table(tmp_path, rows)).rows) == 2


@pytest.mark.parametrize("date", ["2026-01-17", "2026", "January"])
def test_a_date_need_not_be_quoted(tmp_path, date):
    file = tmp_path / "dated.yaml"
    row = "{model: m, device: d, precision: p, samples_per_s: 1}"
    file.write_text(f"date: {date}\nsource: x\nprecision: x\nnote: x\nrows: [{row}]")
    assert load_table(str(file)).date == date


def test_files_that_are_no_tables_get_a_line(tmp_path):
    assert "can't read nowhere.yaml: No such file" in refusal("nowhere.yaml")
    assert f"can't read {tmp_path / 'x.yaml'}" in refusal(str(tmp_path / "x.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    assert "Is a directory" in refusal(str(tmp_path / "folder.yaml"))
    for text, line in (
        (b"\xff\xfe", "not UTF-8"),
        (b"- 1", "expected a mapping"),
        (b"", "expected a mapping"),
        (b"{", "not YAML"),
    ):
        (tmp_path / "bad.yaml").write_bytes(text)
        assert line in refusal(str(tmp_path / "bad.yaml"))
    assert "source: missing" in refusal(_without_source(tmp_path))
    assert "did you mean lambda?" in refusal("lamda")


def _without_source(tmp_path):
    (tmp_path / "bare.yaml").write_text(
        "date: x\nprecision: x\nnote: x\nrows: [{model: m, device: d, precision: p, samples_per_s: 1}]"
    )
    return str(tmp_path / "bare.yaml")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"table": "lamda"}, "sim.costs.training.table: got lamda"),
        ({"model": "resnet5"}, "sim.costs.training.model: got resnet5; did you mean resnet50"),
        ({"device": "tpu"}, "sim.costs.training.device: got tpu; known: v100-16gb, a100-40gb-pcie"),
        ({"precision": None}, "sim.costs.training.precision: missing, expected one of fp16, fp32"),
        ({"precision": "fp8"}, "sim.costs.training.precision: got fp8"),
        ({"efficiency": 0.0}, "sim.costs.training.efficiency: got 0.0"),
        ({"efficiency": 1.5}, "sim.costs.training.efficiency: got 1.5"),
        ({"setup_s": -1.0}, "sim.costs.training.setup_s: got -1.0"),
    ],
)
def test_hostile_parameters_get_a_line(changed, line):
    training = {"kind": "profile", "table": "lambda", "model": "resnet50", "device": "h100-sxm5", "precision": "fp16"}
    with pytest.raises(ConfigError) as caught:
        tc.run({"trigger": {"kind": "amount", "n": 9}, "sim": {"costs": {"training": training | changed}}}, on="sim")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


# The published tables


@pytest.mark.parametrize("name", built_in_names())
def test_published_tables_load_and_say_where_they_are_from(name):
    loaded = load_table(name)
    assert loaded.source
    assert loaded.date
    assert {row.precision for row in loaded.rows} <= set(loaded.precision.replace(":", "").replace(",", "").split())


def rate(name, **sought):
    (found,) = [
        row for row in load_table(name).rows if all(getattr(row, key) == value for key, value in sought.items())
    ]
    return found.samples_per_s


def test_some_published_figures():
    a100 = {"model": "resnet50_v1.5", "device": "a100-80gb", "precision": "amp"}
    assert rate("nvidia_deeplearningexamples", **a100, devices=1) == 2470
    assert rate("nvidia_deeplearningexamples", **a100, devices=8) == 16621
    assert rate("lambda", model="bert_large_squad", device="b200", precision="fp16") == 523
    assert rate("lambda", model="resnet50", device="h100-sxm5", precision="fp16", devices=8) == 22059
    assert rate("timm", model="resnet18") == 3481.78
    assert rate("sia", device="t4") == 1461
    assert rate("gavel", model="resnet50", batch=64) == pytest.approx(64 * 4.39)


def test_gavels_resnet_50_is_close_to_the_line_that_is_said_of_it():
    for row in load_table("gavel").rows:
        if row.model == "resnet50":
            assert row.batch / row.samples_per_s == pytest.approx(0.043 + 0.0028 * row.batch, rel=0.07)


def test_a_row_names_itself():
    row = Row(model="m", device="d", precision="p", devices=8, batch=4, samples_per_s=1.0)
    assert str(row) == "m on d, p, 8 devices, batch 4"
