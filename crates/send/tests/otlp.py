"""Reads the two encodings of one OTLP request with OpenTelemetry's types, compares them, and prints
the request as JSON."""

import base64
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

IDS = ("traceId", "spanId")


def with_ids(value, convert):
    """Returns the JSON value with each ID converted."""
    if isinstance(value, list):
        return [with_ids(one, convert) for one in value]
    if isinstance(value, dict):
        return {
            key: convert(one) if key in IDS else with_ids(one, convert)
            for key, one in value.items()
        }
    return value


def to_base64(digits):
    return base64.b64encode(bytes.fromhex(digits)).decode()


def to_hex(text):
    return base64.b64decode(text).hex()


binary, text = (open(path, "rb").read() for path in sys.argv[1:])
request = ExportMetricsServiceRequest.FromString(binary)
# OTLP has IDs in hexadecimal, and JSON of protocol buffers has bytes in base64.
same = json_format.ParseDict(
    with_ids(json.loads(text), to_base64), ExportMetricsServiceRequest()
)
assert request == same, f"{request} is not {same}"
found = json_format.MessageToDict(request, use_integers_for_enums=True)
json.dump(with_ids(found, to_hex), sys.stdout)
