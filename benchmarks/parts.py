"""The parts of the benchmarks, each a module with a function ``measure``."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from .report import Findings

__all__ = ["PARTS", "in_a_process"]

#: In this order. Those that need a quiet machine most come first.
PARTS = (
    "calls",
    "workers",
    "herd",
    "disk",
    "many",
    "keys",
    "progress",
    "processes",
    "events",
    "stores",
    "memory",
    "scale",
)


def in_a_process(name: str) -> Findings:
    """Measure in a new process, so that no part has the threads and connections of another."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, name).result()


def measured(name: str) -> Findings:
    findings: Findings = importlib.import_module(f"benchmarks.{name}").measure()
    # The process hands over its counts when it ends, and the store has gone.
    logging.disable(logging.CRITICAL)
    return findings
