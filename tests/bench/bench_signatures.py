"""Signatures per second and core, and memory: prints one JSON object.

python -m tests.bench.bench_signatures [--rounds N] [--workers N] [--parallel]
"""

import argparse
import cProfile
import io
import json
import os
import pstats
import resource
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from archive_service.signatures import SignaturePolicy, TrustStore, load_policy
from archive_service.signatures.pool import SignaturePool, SignatureTask
from tests.unit.signatures.pki_fixtures import SIGNED_AT, World, blank_pdf, sign_cms, sign_pdf

LARGE_BYTES = 10 * 1024 * 1024


def cases(world: World) -> dict[str, tuple[bytes, str]]:
    """The files measured, by name."""
    large = blank_pdf().replace(b"BT /F1", b"BT /F1 ", 1) + b""
    twice = sign_pdf(world, sign_pdf(world, party=world.plain), party=world.plain, field_name="Sig2")
    return {
        "pades_b": (sign_pdf(world, large, party=world.plain), "application/pdf"),
        "pades_lt": (sign_pdf(world, level="LT"), "application/pdf"),
        "pades_lta": (sign_pdf(world, level="LTA"), "application/pdf"),
        "pades_twice": (twice, "application/pdf"),
        "cms_10mb": (sign_cms(world, b"x" * LARGE_BYTES, detached=False, party=world.plain), "application/pkcs7-mime"),
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Signature validation benchmark")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--profile", metavar="CASE")
    parser.add_argument("--parallel", action="store_true", help="the same files over 1 and 2 worker processes")
    arguments = parser.parse_args()
    world = World(tag="bench")
    policy, trust = load_policy(), TrustStore.of([world.root.der])
    if arguments.parallel:
        sys.stdout.write(json.dumps(parallel(world, arguments.rounds, policy, trust)) + "\n")
        return 0
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, SignaturePool(arguments.workers) as pool:
        for name, (content, mime) in cases(world).items():
            path = Path(folder) / name
            path.write_bytes(content)
            at = SIGNED_AT + timedelta(hours=1)
            task = SignatureTask(path=path, mime=mime, trust=trust, at=at, policy=policy)
            [first] = pool.check([task])
            if arguments.profile == name:
                _profile(pool, task)
            cpu, wall = time.process_time(), time.perf_counter()
            pool.check([task] * arguments.rounds)
            wall = time.perf_counter() - wall
            cpu = time.process_time() - cpu
            cost = wall if arguments.workers else cpu
            results[name] = {
                "indication": first.indication,
                "bytes": len(content),
                "ms": round(cost / arguments.rounds * 1000, 2),
                "per_second": round(arguments.rounds / cost, 1),
            }
    who = resource.RUSAGE_CHILDREN if arguments.workers else resource.RUSAGE_SELF
    results["peak_rss_mb"] = round(resource.getrusage(who).ru_maxrss / 1024, 1)
    results["workers"] = arguments.workers
    sys.stdout.write(json.dumps(results) + "\n")
    return 0


def parallel(world: World, rounds: int, policy: SignaturePolicy, trust: TrustStore) -> dict[str, Any]:
    """Returns signatures a second, a core and a worker, speed-up and memory for pools of one and two processes.

    Signatures per core go by the workers' processor time, which other programs on the machine do not change; the speed-up goes by wall
    time and does.
    """
    measured: dict[str, Any] = {}
    files = {name: case for name, case in cases(world).items() if name != "cms_10mb"}
    with tempfile.TemporaryDirectory() as folder:
        at = SIGNED_AT + timedelta(hours=1)
        tasks = []
        for name, (content, mime) in files.items():
            path = Path(folder) / name
            path.write_bytes(content)
            tasks.append(SignatureTask(path=path, mime=mime, trust=trust, at=at, policy=policy))
        for workers in (1, 2):
            with SignaturePool(workers, time_limit_s=600) as pool:
                pool.check(tasks * workers * 2)  # starts the workers and fills their caches
                before, wall = _worker_times(), time.perf_counter()
                checks = pool.check(tasks * rounds)
                wall = time.perf_counter() - wall
                after = _worker_times()
            signatures = sum(len(check.reports) for check in checks)
            cpu = sum(seconds - before[pid][0] for pid, (seconds, _) in after.items() if pid in before)
            measured[f"workers_{workers}"] = {
                "signatures": signatures,
                "per_core_second": round(signatures / cpu, 1),
                "per_second": round(signatures / wall, 1),
                "worker_rss_mb": [round(memory / 1024 / 1024, 1) for _, memory in after.values() if memory],
            }
    one, two = (measured[f"workers_{workers}"]["per_second"] for workers in (1, 2))
    return measured | {"speed_up": round(two / one, 2), "load": os.getloadavg()[0], "cores": os.cpu_count()}


def _worker_times() -> dict[int, tuple[float, int]]:
    """Returns processor time and resident memory of every worker process."""
    found = {}
    for child in psutil.Process().children():
        if "spawn_main" in " ".join(child.cmdline()):
            times = child.cpu_times()
            found[child.pid] = (times.user + times.system, child.memory_info().rss)
    return found


def _profile(pool: SignaturePool, task: SignatureTask) -> None:
    profiler = cProfile.Profile()
    profiler.runcall(pool.check, [task] * 20)
    out = io.StringIO()
    pstats.Stats(profiler, stream=out).sort_stats("cumulative").print_stats(70)
    sys.stderr.write(out.getvalue())


if __name__ == "__main__":
    sys.exit(main())
