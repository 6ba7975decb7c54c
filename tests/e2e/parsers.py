"""Reads pages with the official parsers. The arguments are pairs of a format and a file with one page.

Prints every sample on a line of its own, as JSON that a Rust test can compare.
"""

import json
import sys

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families as text

for what, file in zip(sys.argv[1::2], sys.argv[2::2]):
    # Reads carriage returns as ordinary characters.
    with open(file, encoding="utf-8", newline="") as f:
        page = f.read()
    read = {"text": text, "openmetrics": open_metrics}[what]
    for family in read(page):
        for sample in family.samples:
            exemplar = sample.exemplar
            print(
                json.dumps(
                    {
                        "file": file,
                        "family": family.name,
                        "type": family.type,
                        "unit": family.unit,
                        "help": family.documentation,
                        "name": sample.name,
                        "labels": sample.labels,
                        "value": repr(float(sample.value)),
                        "exemplar": exemplar and exemplar.labels,
                    }
                )
            )
