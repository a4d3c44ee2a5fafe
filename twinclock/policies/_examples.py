"""A value for every key of a policy that has no default, so that the catalog can write whole lines of YAML.

They are examples, in a size that suits the bundled rodents. NAME and the like are for the user to choose.
"""

from __future__ import annotations

from collections.abc import Mapping

_POOLS = "pools: [{name: a100, devices_per_node: 4}, {name: t4, devices_per_node: 8}]"
_RULE = "rule: {kind: static, threshold: 0.12}"
_TESTED = "rule: {kind: hypothesis_test, p: 0.01}"

EXAMPLES: Mapping[tuple[str, str], str] = {
    ("trigger", "amount"): "n: 2000",
    ("trigger", "budget"): "of: {kind: amount, n: 2000}, limit: 10, unit: trainings",
    ("trigger", "cara"): "interval: 1000, per_training_second: 300",
    ("trigger", "continuum"): "w: 2.0e+11, alpha: 3.3e-5, beta: 0.1",
    ("trigger", "cost"): "interval: 500, per_training_second: 4.0e+11",
    ("trigger", "custom"): 'import: "my_module:MyTrigger"',
    ("trigger", "drift"): f"interval: 1000, metrics: {{NAME: {{kind: ks, {_RULE}}}}}, "
    "windows: {kind: amount, ref: 2000, cur: 1000}",
    ("trigger", "ensemble"): "of: {NAME: {kind: amount, n: 2000}, OTHER: {kind: time, every: 1y}}, rule: any",
    ("trigger", "oracle"): "run: RUN_DIR, per_training_second: 300",
    ("trigger", "performance"): "interval: 1000, rules: [{kind: static, metric: accuracy, threshold: 0.7}]",
    ("trigger", "time"): "every: 1y",
    ("threshold rule", "static"): "threshold: 0.5",
    ("threshold rule", "rolling"): "deviation: 0.05",
    ("threshold rule", "avoidable_misclassifications"): "threshold: 200",
    ("threshold rule", "hypothesis_test"): "p: 0.01",
    ("drift metric", "mmd"): _RULE,
    ("drift metric", "ks"): _RULE,
    ("drift metric", "cvm"): _TESTED,
    ("drift metric", "wasserstein"): _RULE,
    ("drift metric", "hellinger"): _RULE,
    ("drift metric", "js"): _RULE,
    ("drift metric", "psi"): _RULE,
    ("drift metric", "energy"): _RULE,
    ("drift metric", "c2st"): "rule: {kind: static, threshold: 0.7}",
    ("windows", "amount"): "ref: 2000, cur: 1000",
    ("windows", "time"): "ref: 1y, cur: 90d",
    ("batching", "time"): "seconds: 60",
    ("batching", "size_or_timeout"): "n: 500, seconds: 60",
    ("batching", "adaptive"): "min: 50, max: 5000, step: 50, target: 0.5",
    ("selection", "freshness"): "unused: 50",
    ("downsampling", "loss"): "ratio: 0.3",
    ("downsampling", "gradnorm"): "ratio: 0.3",
    ("downsampling", "margin"): "ratio: 0.3",
    ("downsampling", "least_confidence"): "ratio: 0.3",
    ("downsampling", "entropy"): "ratio: 0.3",
    ("downsampling", "k_center"): "ratio: 0.1",
    ("downsampling", "rs2"): "ratio: 0.3",
    ("evaluation plan", "slicing"): "every: 180d",
    ("evaluation plan", "periodic"): "every: 90d, half: 90d",
    ("evaluation plan", "offset"): "offsets: [-180d, 0, 180d]",
    ("evaluation plan", "static"): "intervals: [[3.0e+8, 3.3e+8]]",
    ("placement", "first_fit"): _POOLS,
    ("placement", "best_fit"): _POOLS,
    ("placement", "fastest"): _POOLS,
    ("placement", "cheapest"): _POOLS,
}
"""(group, name) → its required keys, as they stand inside the braces."""
