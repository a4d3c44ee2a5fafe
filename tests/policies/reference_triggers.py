"""Every trigger policy a second time, sample by sample and without any haste, from the definitions alone.

`fires` answers what `twinclock.fires` answers: every fire becomes a trigger, its training is over at once, every
fire with samples makes a model, and the seconds of each training are reported. Nothing of twinclock is imported.
Distances are given for each decision, or computed from the positions in the two windows; accuracies of several models
from the numbers of the model and of the decision.

A policy here is an object with two generators that yield once for each fire it wants: `closing(i)`, at the position
before sample i, which is in hand but not yet seen; and `seeing(i)`, at position i. `end` is asked when the
stream is over. Between two fires the world has moved on, so a policy reads what it needs of past triggers from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HIGHER_IS_BAD = ("log_loss", "mae", "rmse")
DETECTORS = ("adwin", "page_hinkley", "kswin")


@dataclass
class Training:
    num_samples: int
    seconds: float | None


@dataclass
class World:
    """The stream, what there is to observe, and the triggers so far."""

    ts: list[float]
    scores: Sequence[float | None] | None = None
    distances: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    train_seconds: Callable[[int], float] | None = None
    label_delay_s: float = 0.0
    score_of_model: Callable[[int, int], float] | None = None
    distance_of: Callable[[Sequence[int], Sequence[int]], float] | None = None
    triggers: list[int] = field(default_factory=list)
    trainings: list[Training] = field(default_factory=list)
    num_trained: int = 0

    @property
    def last_fire(self) -> int | None:
        return self.triggers[-1] if self.triggers else None

    @property
    def first_waiting(self) -> int:
        return self.triggers[-1] + 1 if self.triggers else 0

    def num_to_train(self, position: int) -> int:
        """What a training fired at a position gets: the samples with labels that none has had."""
        known = [
            i for i in range(self.num_trained, position + 1) if self.ts[i] + self.label_delay_s <= self.ts[position]
        ]
        return len(known)

    @property
    def has_model(self) -> bool:
        return len(self.trainings) > 0

    @property
    def reports(self) -> list[tuple[int, float]]:
        return [(each.num_samples, each.seconds) for each in self.trainings if each.seconds is not None]


def fires(
    config: Mapping[str, Any],
    timestamps: Sequence[float],
    *,
    scores: Sequence[float | None] | None = None,
    distances: Mapping[str, Sequence[float | None]] | None = None,
    train_seconds: float | Callable[[int], float] | None = None,
    label_delay_s: float = 0.0,
    score_of_model: Callable[[int, int], float] | None = None,
    distance_of: Callable[[Sequence[int], Sequence[int]], float] | None = None,
) -> list[int]:
    seconds = train_seconds if callable(train_seconds) or train_seconds is None else lambda _: train_seconds
    world = World(
        [float(ts) for ts in timestamps], scores, distances or {}, seconds, label_delay_s, score_of_model, distance_of
    )
    policy = build(config, world)

    def become_triggers(wanted: Iterator[None], position: int) -> None:
        for _ in wanted:
            num_samples = world.num_to_train(position)
            world.triggers.append(position)
            policy.fired(position)
            world.num_trained += num_samples
            if num_samples > 0:
                world.trainings.append(Training(num_samples, None if seconds is None else seconds(num_samples)))

    for i in range(len(world.ts)):
        become_triggers(policy.closing(i), i - 1)
        become_triggers(policy.seeing(i), i)
    if world.ts:
        become_triggers(policy.end(), len(world.ts) - 1)
    return world.triggers


def build(config: Mapping[str, Any], world: World) -> Any:
    kinds = {
        "never": Never,
        "always": Amount,
        "amount": Amount,
        "time": Time,
        "performance": lambda config, world: Interval(config, world, Performance(config, world)),
        "drift": lambda config, world: Interval(config, world, Drift(config, world)),
        "cost": lambda config, world: Interval(config, world, Cost(config, world)),
        "cara": lambda config, world: Interval(config, world, Cara(config, world)),
        "continuum": Continuum,
        "custom": Gap,
        "best_effort": BestEffort,
        "ensemble": Ensemble,
        "budget": Budget,
    }
    return kinds[config["kind"]](config, world)


def duration(value: float | str) -> float:
    """Seconds of a number, or of `<int>` and a unit."""
    if isinstance(value, str):
        return float(int(value[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}[value[-1]])
    return float(value)


# --- simple ones


class Never:
    def __init__(self, config, world):
        pass

    def closing(self, i):
        yield from ()

    def seeing(self, i):
        yield from ()

    def end(self):
        yield from ()

    def fired(self, position):
        pass


class Amount(Never):
    def __init__(self, config, world):
        self.n = config.get("n", 1)

    def seeing(self, i):
        if (i + 1) % self.n == 0:
            yield


class Time(Never):
    def __init__(self, config, world):
        self.world = world
        self.every = duration(config["every"])
        self.start = config.get("start")
        self.final = config.get("final", False)
        self.boundary = None

    def closing(self, i):
        if i == 0:
            self.boundary = (self.world.ts[0] if self.start is None else self.start) + self.every
        while self.world.ts[i] >= self.boundary:
            self.boundary += self.every
            yield

    def end(self):
        if self.final and self.world.first_waiting < len(self.world.ts):
            yield


class Gap(Never):
    """The custom trigger of the cases."""

    def __init__(self, config, world):
        self.ts = world.ts
        self.pause = config["args"]["pause"]

    def closing(self, i):
        if i > 0 and self.ts[i] - self.ts[i - 1] >= self.pause:
            yield


# --- those that decide at intervals


class Interval(Never):
    """When a judge is asked, and what becomes of what it says: warmup, cooldown, label delay."""

    def __init__(self, config, world, judge):
        self.world = world
        self.judge = judge
        self.every = config["interval"]
        self.by_count = isinstance(self.every, int)
        self.boundary = None
        self.began = 0
        self.due = []
        self.num_decided = 0
        warmup = config.get("warmup") or {"intervals": 0, "trigger": {"kind": "never"}}
        self.warmup_intervals = warmup["intervals"]
        self.simple = build(warmup["trigger"], world)
        self.simple_fired_on = []
        self.cooldown = config.get("cooldown") or {}

    def closing(self, i):
        ts = self.world.ts[i]
        if not self.by_count:
            if i == 0:
                self.boundary = ts + duration(self.every)
            if ts >= self.boundary:
                self.due.append((self.began, i, self.boundary))
                self.began = i
                while ts >= self.boundary:
                    self.boundary += duration(self.every)
        while self.due and (not self.waits_for_labels() or ts >= self.due[0][2] + self.world.label_delay_s):
            first, stop, _ = self.due.pop(0)
            yield from self.decide(first, stop, at=i - 1)
        self.simple_fired_on += [i for _ in self.simple.closing(i)]

    def seeing(self, i):
        self.simple_fired_on += [i for _ in self.simple.seeing(i)]
        self.judge.sees(i)
        if self.by_count and (i + 1) % self.every == 0:
            if self.waits_for_labels():
                self.due.append((i + 1 - self.every, i + 1, self.world.ts[i]))
            else:
                yield from self.decide(i + 1 - self.every, i + 1, at=i)

    def fired(self, position):
        self.judge.fired(position)

    def waits_for_labels(self):
        return self.judge.needs_labels and self.world.label_delay_s > 0

    def decide(self, first, stop, *, at):
        number = self.num_decided
        self.num_decided += 1
        warm = number < self.warmup_intervals
        wanted = self.judge.decide(number, first, stop, at, warm)
        if not self.world.has_model:
            wanted = True
        elif warm:
            wanted = any(first <= i < stop for i in self.simple_fired_on)
        if wanted and not self.cooling_down(at):
            yield

    def cooling_down(self, at):
        last = self.world.last_fire
        if last is None:
            return False
        if self.cooldown.get("samples") is not None:
            return at - last < self.cooldown["samples"]
        if self.cooldown.get("seconds") is not None:
            return self.world.ts[at] - self.world.ts[max(0, last)] < duration(self.cooldown["seconds"])
        return False


def usable(value):
    return value is not None and not math.isnan(value)


def mean(values):
    return sum(values) / len(values)


class Static:
    def __init__(self, rule, bad):
        self.threshold = rule["threshold"]
        self.bad = bad

    def judge(self, value):
        return value >= self.threshold if self.bad == "higher" else value <= self.threshold


class Quantile:
    def __init__(self, rule, bad):
        self.window = rule.get("window", 10)
        self.q = rule.get("q", 0.05)
        self.bad = bad
        self.seen = []

    def judge(self, value):
        earlier = sorted(self.seen[-self.window :])
        self.seen.append(value)
        if not earlier:
            return True
        threshold = linear_quantile(earlier, 1 - self.q if self.bad == "higher" else self.q)
        return value > threshold if self.bad == "higher" else value < threshold


def linear_quantile(ordered, q):
    place = q * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


class Rolling:
    def __init__(self, rule, bad):
        self.window = rule.get("window", 10)
        self.deviation = rule["deviation"]
        self.absolute = rule.get("absolute", False)
        self.bad = bad
        self.seen = []

    def judge(self, value):
        earlier = self.seen[-self.window :]
        self.seen.append(value)
        if not earlier:
            return True
        m = mean(earlier)
        delta = value - m if self.bad == "higher" else m - value
        return delta >= self.deviation if self.absolute else delta >= self.deviation * abs(m)


class HypothesisTest:
    def __init__(self, rule, bad):
        self.p = rule["p"]

    def judge(self, value):
        return value < self.p


RULES = {"static": Static, "quantile": Quantile, "rolling": Rolling, "hypothesis_test": HypothesisTest}


def num_misses(accuracy, num_samples):
    """Scores are shares; misses are counted."""
    return round((1 - accuracy) * num_samples)


def forecast(values):
    if len(values) < 5:
        return mean(values)
    return ridge(list(range(len(values))), values, len(values), 0.5)


def ridge(xs, ys, at, alpha):
    mean_x, mean_y = mean(xs), mean(ys)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    slope /= sum((x - mean_x) ** 2 for x in xs) + alpha
    return mean_y + slope * (at - mean_x)


def share(value):
    return min(1.0, max(0.0, value))


class FirstAccuracies:
    """The accuracy of each model on the first interval decided with it, and what they make one expect."""

    def __init__(self, world, given, window):
        self.world = world
        self.given = given
        self.window = window
        self.of_model = {}

    def expected(self):
        if self.given is not None:
            return self.given
        known = list(self.of_model.values())
        return share(forecast(known[-self.window :])) if known else None

    def observe(self, accuracy):
        self.of_model.setdefault(len(self.world.trainings), accuracy)


class AvoidableMisclassifications:
    def __init__(self, rule, world):
        self.world = world
        self.threshold = rule["threshold"]
        self.allow_reduction = rule.get("allow_reduction", False)
        self.lookahead = rule.get("mode", "hindsight") == "lookahead"
        self.window = rule.get("window", 10)
        self.firsts = FirstAccuracies(world, rule.get("expected_accuracy"), self.window)
        self.c = 0
        self.since_fire = []

    def judge(self, accuracy, num_samples, warm):
        e = self.firsts.expected()
        self.firsts.observe(accuracy)
        self.since_fire.append(accuracy)
        if warm:
            return False
        a = 0.0 if e is None else num_misses(accuracy, num_samples) - (1 - e) * num_samples
        if a < 0 and not self.allow_reduction:
            a = 0.0
        self.c += round(a)
        if self.c >= self.threshold:
            return True
        if self.lookahead and e is not None:
            coming = share(forecast(self.since_fire[-self.window :]))
            return self.c + round(max(0.0, e - coming) * num_samples) >= self.threshold
        return False

    def fired(self):
        self.c = 0
        self.since_fire = []


class Performance:
    needs_labels = True

    def __init__(self, config, world):
        self.world = world
        self.rules = []
        for rule in config["rules"]:
            if rule["kind"] == "avoidable_misclassifications":
                self.rules.append(AvoidableMisclassifications(rule, world))
            else:
                self.rules.append(RULES[rule["kind"]](rule, "higher" if rule["metric"] in HIGHER_IS_BAD else "lower"))

    def sees(self, i):
        pass

    def decide(self, number, first, stop, at, warm):
        if not self.world.has_model:
            return False
        score = self.world.scores[number]
        if not usable(score):
            return False
        answers = []
        for rule in self.rules:
            if isinstance(rule, AvoidableMisclassifications):
                answers.append(rule.judge(score, stop - first, warm))
            else:
                answers.append(rule.judge(score))
        return any(answers)

    def fired(self, position):
        for rule in self.rules:
            if isinstance(rule, AvoidableMisclassifications):
                rule.fired()


class Drift:
    def __init__(self, config, world):
        self.needs_labels = any(
            metric["kind"] in DETECTORS and metric.get("value", "error") == "error"
            for metric in config["metrics"].values()
        )
        self.world = world
        self.rules = {name: self.rule(metric) for name, metric in config["metrics"].items()}
        self.aggregate = config.get("aggregate", "majority")
        self.windows = config.get("windows")
        self.reference, self.reservoir, self.current, self.since_fire = [], [], [], []

    def rule(self, metric):
        if metric["kind"] in DETECTORS:
            return RULES["static"]({"threshold": math.nextafter(0, 1)}, "higher")
        return RULES[metric["rule"]["kind"]](metric["rule"], "higher")

    def trimmed(self, window, limit):
        if self.windows["kind"] == "amount":
            return window[-limit:]
        ts = self.world.ts
        return [i for i in window if ts[i] >= ts[window[-1]] - duration(limit)]

    def sees(self, i):
        if self.windows is None:
            return
        self.since_fire.append(i)
        before = [*self.current, i]
        self.current = self.trimmed(before, self.windows["cur"])
        self.reservoir += before[: len(before) - len(self.current)]

    def fired(self, position):
        if self.windows is None:
            return
        if self.windows.get("overlap", False):
            reference = self.reference + self.since_fire
        else:
            reference = self.reference + self.reservoir + self.current
            self.current = []
        assert len(set(reference)) == len(reference)
        self.reference = self.trimmed(reference, self.windows["ref"])
        self.reservoir, self.since_fire = [], []

    def decide(self, number, first, stop, at, warm):
        if not self.world.has_model:
            return False
        if self.windows is not None and min(len(self.reference), len(self.current)) < 2:
            return False
        votes = []
        for name, rule in self.rules.items():
            if self.world.distances:
                value = self.world.distances[name][number]
            else:
                value = self.world.distance_of(self.reference, self.current)
            votes.append(usable(value) and rule.judge(value))
        return enough(self.aggregate, sum(votes), len(votes))


def enough(rule, num_votes, num_members):
    if rule == "any":
        return num_votes >= 1
    if rule == "all":
        return num_votes == num_members
    if rule == "majority":
        return num_votes > num_members / 2
    return num_votes >= rule["k"]


def forecast_seconds(reports, num_samples, window):
    """None before the first report."""
    recent = reports[-window:]
    if not recent:
        return None
    return ridge([n for n, _ in recent], [seconds for _, seconds in recent], num_samples, 1.0)


class Cost:
    def __init__(self, config, world):
        self.world = world
        self.misclassifications = config.get("regret", "incorporation_latency") != "incorporation_latency"
        self.needs_labels = self.misclassifications
        self.f = config["per_training_second"]
        self.window = config.get("window", 1000)
        self.firsts = FirstAccuracies(world, config.get("expected_accuracy"), 10)
        self.area = 0.0
        self.rate = 0.0
        self.waiting = 0
        self.previous_end = None
        self.signal = None

    def sees(self, i):
        pass

    def decide(self, number, first, stop, at, warm):
        ts = self.world.ts
        e = ts[stop - 1]
        d = e - (ts[first] if self.previous_end is None else self.previous_end)
        self.previous_end = e
        if self.misclassifications:
            r = self.avoidable(number, stop - first, warm)
            self.area += self.rate * d + r * d / 2
            self.rate += r
        else:
            fresh = range(max(first, self.world.first_waiting), stop)
            self.area += self.waiting * d + sum(e - ts[i] for i in fresh)
            self.waiting += len(fresh)
        seconds = forecast_seconds(self.world.reports, self.world.num_to_train(at), self.window)
        if seconds is None:
            return True
        self.signal = self.area / self.f - seconds
        return self.area / self.f >= max(0.0, seconds)

    def avoidable(self, number, num_samples, warm):
        score = self.world.scores[number] if self.world.has_model else None
        if not usable(score):
            return 0.0
        e = self.firsts.expected()
        self.firsts.observe(score)
        if warm or e is None:
            return 0.0
        return max(0.0, num_misses(score, num_samples) - (1 - e) * num_samples)

    def fired(self, position):
        self.area, self.rate, self.waiting = 0.0, 0.0, 0


class Cara:
    """Every interval of the tuning is taken to have a training of its own, so model i is that of interval i."""

    needs_labels = True

    def __init__(self, config, world):
        self.world = world
        self.mode = config.get("mode", "threshold")
        self.num_tuning = config.get("tuning", 10)
        self.f = config["per_training_second"]
        self.by_misses = config.get("metric", "accuracy") == "accuracy"
        self.unanswered = []
        self.answered = {}
        self.choice = None
        self.s = 0.0

    def sees(self, i):
        pass

    def cost_of(self, model, number, num_samples):
        score = self.world.score_of_model(model, number)
        return num_misses(score, num_samples) if self.by_misses else score * num_samples

    def decide(self, number, first, stop, at, warm):
        if number < self.num_tuning:
            self.unanswered.append(stop - first)
            for model in range(number):
                self.answered[model, number] = self.cost_of(model, number, stop - first)
            return True
        if self.choice is None:
            self.choice = self.best()
        if self.mode == "periodic":
            period, offset = self.choice
            return number % period == offset
        v = self.cost_of(len(self.world.trainings) - 1, number, stop - first)
        self.s = self.s + v if self.mode == "cumulative" else v
        return self.s >= self.choice

    def fired(self, position):
        self.s = 0.0

    def best(self):
        if self.mode == "periodic":
            choices = [(period, o) for period in range(1, self.num_tuning + 1) for o in range(period)]
        else:
            choices = [*sorted(self.occurring()), math.inf]
        return min(choices, key=lambda choice: self.price(self.would_fire(choice)))

    def v(self, last, j):
        return self.unanswered[j] if last is None else self.answered[last, j]

    def occurring(self):
        values = set()
        for last in (None, *range(self.num_tuning)):
            s = 0.0
            for j in range(0 if last is None else last + 1, self.num_tuning):
                s = s + self.v(last, j) if self.mode == "cumulative" else self.v(last, j)
                values.add(s)
        return values

    def would_fire(self, choice):
        if self.mode == "periodic":
            return [j for j in range(self.num_tuning) if j % choice[0] == choice[1]]
        found, s = [], 0.0
        for j in range(self.num_tuning):
            v = self.v(found[-1] if found else None, j)
            s = s + v if self.mode == "cumulative" else v
            if s >= choice:
                found.append(j)
                s = 0.0
        return found

    def price(self, found):
        """Cost, then the number of trainings."""
        total = sum(self.f * (self.world.trainings[j].seconds or 0.0) for j in found)
        for j in range(self.num_tuning):
            before = [i for i in found if i < j]
            total += self.v(before[-1] if before else None, j)
        return total, len(found)


# --- those that weigh latency against trainings


class Continuum(Never):
    def __init__(self, config, world):
        self.world = world
        self.w, self.alpha, self.beta = config["w"], config["alpha"], config["beta"]
        self.seen = 0

    def fit(self):
        recent = self.world.reports[-10:]
        sizes = [n for n, _ in recent]
        if len(recent) < 3 or len(set(sizes)) == 1:
            return self.alpha, self.beta
        seconds = [s for _, s in recent]
        alpha = sum((n - mean(sizes)) * (s - mean(seconds)) for n, s in recent)
        alpha /= sum((n - mean(sizes)) ** 2 for n in sizes)
        return alpha, mean(seconds) - alpha * mean(sizes)

    def closing(self, i):
        arrivals = self.world.ts[self.world.first_waiting : self.seen]
        if arrivals and self.world.ts[i] > moment(arrivals, self.w, *self.fit()):
            yield

    def seeing(self, i):
        self.seen = i + 1
        yield from ()


def moment(arrivals, w, alpha, beta):
    """When the regret of having waited reaches that of a training."""
    n = len(arrivals)
    return max(
        arrivals[-1],
        min(arrivals[p - 1] + (w * beta - 2 * alpha * p * (n - p)) / p for p in range(1, n + 1)),
    )


class BestEffort(Never):
    def __init__(self, config, world):
        pass

    def seeing(self, i):
        yield


# --- those made of others


class Ensemble(Never):
    def __init__(self, config, world):
        self.world = world
        self.members = {name: build(member, world) for name, member in config["of"].items()}
        self.rule = config.get("rule", "majority")
        self.on = set()

    def closing(self, i):
        yield from self.count({name: list(member.closing(i)) for name, member in self.members.items()}, i - 1)

    def seeing(self, i):
        yield from self.count({name: list(member.seeing(i)) for name, member in self.members.items()}, i)

    def end(self):
        last = len(self.world.ts) - 1
        yield from self.count({name: list(member.end()) for name, member in self.members.items()}, last)

    def count(self, votes, position):
        if self.world.last_fire is not None and position <= self.world.last_fire:
            return
        self.on |= {name for name, wanted in votes.items() if wanted}
        if any(votes.values()) and enough(self.rule, len(self.on), len(self.members)):
            yield

    def fired(self, position):
        self.on = set()
        for member in self.members.values():
            member.fired(position)


class Budget(Never):
    def __init__(self, config, world):
        self.world = world
        self.of = build(config["of"], world)
        self.limit = config["limit"]
        self.unit = config.get("unit", "trainings")
        self.horizon = None if config.get("horizon") is None else duration(config["horizon"])
        self.pace = config.get("pace", "greedy")
        self.usd_per_second = (config.get("usd_per_device_hour") or 0.0) / 3600
        self.charges = []
        self.passed = None

    def closing(self, i):
        for _ in self.of.closing(i):
            if self.passes(i - 1):
                yield

    def seeing(self, i):
        for _ in self.of.seeing(i):
            if self.passes(i):
                yield

    def end(self):
        for _ in self.of.end():
            if self.passes(len(self.world.ts) - 1):
                yield

    def horizon_of(self, position):
        if self.horizon is None:
            return 0
        return math.floor(self.data_time(position) / self.horizon)

    def data_time(self, position):
        """Since the first sample."""
        return self.world.ts[max(0, position)] - self.world.ts[0]

    def forecast(self, num_samples):
        return self.charge(max(0.0, forecast_seconds(self.world.reports, num_samples, 1000) or 0.0))

    def charge(self, seconds):
        return {"trainings": 1.0, "gpu_seconds": seconds, "money": seconds * self.usd_per_second}[self.unit]

    def passes(self, position):
        spent = sum(
            self.charge_of(k)
            for k, (at, _, _) in enumerate(self.charges)
            if self.horizon_of(at) == self.horizon_of(position)
        )
        num_samples = self.world.num_to_train(position)
        forecast = self.forecast(num_samples)
        if spent + forecast > self.limit or (self.pace == "even" and spent + forecast > self.credit(position)):
            return False
        self.passed = position, num_samples, forecast
        return True

    def credit(self, position):
        began = self.horizon_of(position) * self.horizon
        return self.limit / self.horizon * (self.data_time(position) - began)

    def charge_of(self, k):
        """What was reported, else what was forecast."""
        _, forecast, training = self.charges[k]
        if training is not None and training < len(self.world.trainings):
            seconds = self.world.trainings[training].seconds
            return forecast if seconds is None else self.charge(seconds)
        return forecast

    def fired(self, position):
        """Only what it let through itself is charged."""
        if self.passed is not None:
            at, num_samples, forecast = self.passed
            self.charges.append((at, forecast, len(self.world.trainings) if num_samples > 0 else None))
            self.passed = None
        self.of.fired(position)
