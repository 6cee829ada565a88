"""Time and peak memory of each distance on 20,000 x 50 against 20,000 x 50, each in a process of its own.

python benchmarks/metric_cost.py
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
import warnings

import numpy as np

import sccalmflow as scf

METRICS = (
    *("edistance", "mmd", "adaptive_mmd", "wasserstein", "sinkhorn_divergence"),
    *("leiden_kld", "inception_score", "std_ratio", "correlation_error", "duplicate_rate"),
)


def measure(metric: str, n_cells: int) -> None:
    """Print the time and memory of one metric."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(8, 50))
    x, y = (centres[rng.integers(8, size=n_cells)] + rng.normal(size=(n_cells, 50)) for _ in range(2))
    with warnings.catch_warnings():
        # Those that take a subsample say so.
        warnings.simplefilter("ignore", UserWarning)
        start = time.perf_counter()
        getattr(scf.tl, metric)(x, y)
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{metric:<20} {seconds:5.1f} s, peak {peak:.2f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=METRICS)
    parser.add_argument("--cells", type=int, default=20_000)
    arguments = parser.parse_args()
    if len(arguments.metrics) == 1:
        measure(arguments.metrics[0], arguments.cells)
        return
    print(f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads on {os.cpu_count()} cores", flush=True)
    for metric in arguments.metrics:
        subprocess.run([sys.executable, __file__, "--metrics", metric, "--cells", str(arguments.cells)], check=True)


if __name__ == "__main__":
    main()
