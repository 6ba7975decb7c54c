"""What a scrape takes in the multiprocess mode of Python's client: arguments are the numbers of
processes and of counters in each."""

import os
import subprocess
import sys
import tempfile
import time

if len(sys.argv) == 2:
    from prometheus_client import Counter

    jobs = Counter("jobs", "Jobs.", ["job"])
    for i in range(int(sys.argv[1])):
        jobs.labels(str(i)).inc()
    sys.exit()

processes, series = int(sys.argv[1]), sys.argv[2]
with tempfile.TemporaryDirectory() as directory:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    for _ in range(processes):
        subprocess.run([sys.executable, __file__, series], check=True)
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    times = []
    for _ in range(3):
        started = time.perf_counter()
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        page = generate_latest(registry)
        times.append(time.perf_counter() - started)
        assert b'jobs_total{job="9999"}' in page
    print(f"| Python prometheus_client, files: every scrape | {sorted(times)[1] * 1e3:.0f} |")
