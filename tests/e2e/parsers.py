"""Reads pages with the official parsers: one a file, named on the command line behind its format.

Prints what was read, one sample a line, in a form that Rust can compare.
"""

import json
import sys

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families as text

for what, file in zip(sys.argv[1::2], sys.argv[2::2]):
    # Carriage returns are ordinary characters.
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
