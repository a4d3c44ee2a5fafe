"""Several pipelines that share one cluster, in one simulation."""

from twinclock.fleet.config import FleetConfig, FleetMember, is_fleet, load_fleet
from twinclock.fleet.launch import plan_fleet, run_fleet
from twinclock.fleet.result import Fleet

__all__ = ["Fleet", "FleetConfig", "FleetMember", "is_fleet", "load_fleet", "plan_fleet", "run_fleet"]
