"""Reads the files of a recorder: `hdrhistogram.py LOG PERCENTILES`.

The log is read with HdrHistogram's port to Python. The percentiles, which that port only writes,
are read by the rules of HdrHistogram's plotter. Prints both as JSON, with what the histogram of the
whole log has for each percentile.
"""

import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader


def counts(histogram):
    """Returns pairs of the highest value of a bucket and its count."""
    recorded = histogram.get_recorded_iterator()
    return [(at.value_iterated_to, at.count_added_in_this_iter_step) for at in recorded]


def plotted(lines):
    """Yields the numbers of the lines that the plotter draws: those of four fields."""
    for line in lines:
        fields = line.split()
        if not line.startswith("#") and len(fields) == 4:
            try:
                yield [float(field) for field in fields]
            except ValueError:
                pass  # the titles


def up_to(all_counts, part):
    """Returns the smallest value that this part does not exceed, and the count up to it."""
    below, total = 0, sum(count for _, count in all_counts)
    for value, count in all_counts:
        below += count
        if below / total >= part:
            return value, below
    raise ValueError(f"no value has {part} of all at or below it")


log, percentiles = sys.argv[1:]
whole = HdrHistogram(1, 3_600_000_000_000, 3)
reader = HistogramLogReader(log, whole)
intervals = []
while (interval := reader.get_next_interval_histogram()) is not None:
    whole.add(interval)
    intervals.append(
        {
            "tag": interval.get_tag(),
            "start": interval.get_start_time_stamp(),
            "end": interval.get_end_time_stamp(),
            "counts": counts(interval),
        }
    )
with open(percentiles, encoding="utf-8") as file:
    rows = list(plotted(file))
all_counts = counts(whole)
expected = [up_to(all_counts, row[1]) for row in rows]
print(json.dumps({"intervals": intervals, "rows": rows, "expected": expected}))
