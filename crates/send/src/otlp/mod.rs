//! OTLP: metrics for OpenTelemetry collectors.
