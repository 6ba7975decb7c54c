//! The fields of OTLP's messages that are written.
//!
//! Source: `collector/metrics/v1/metrics_service.proto`, `metrics/v1/metrics.proto`,
//! `common/v1/common.proto` and `resource/v1/resource.proto` of opentelemetry-proto 1.x.

use super::writer::Field;

// ExportMetricsServiceRequest
pub(super) const RESOURCE_METRICS: Field = Field::new(1, "resourceMetrics");

// ResourceMetrics
pub(super) const RESOURCE: Field = Field::new(1, "resource");
pub(super) const SCOPE_METRICS: Field = Field::new(2, "scopeMetrics");

// Resource
pub(super) const RESOURCE_ATTRIBUTES: Field = Field::new(1, "attributes");

// ScopeMetrics
pub(super) const SCOPE: Field = Field::new(1, "scope");
pub(super) const METRICS: Field = Field::new(2, "metrics");

// InstrumentationScope
pub(super) const SCOPE_NAME: Field = Field::new(1, "name");
pub(super) const SCOPE_VERSION: Field = Field::new(2, "version");

// Metric
pub(super) const NAME: Field = Field::new(1, "name");
pub(super) const DESCRIPTION: Field = Field::new(2, "description");
pub(super) const UNIT: Field = Field::new(3, "unit");
pub(super) const GAUGE: Field = Field::new(5, "gauge");
pub(super) const SUM: Field = Field::new(7, "sum");
pub(super) const HISTOGRAM: Field = Field::new(9, "histogram");
pub(super) const EXPONENTIAL_HISTOGRAM: Field = Field::new(10, "exponentialHistogram");
pub(super) const SUMMARY: Field = Field::new(11, "summary");
pub(super) const METADATA: Field = Field::new(12, "metadata");

// Gauge, Sum, Histogram, ExponentialHistogram, Summary
pub(super) const DATA_POINTS: Field = Field::new(1, "dataPoints");
pub(super) const AGGREGATION_TEMPORALITY: Field = Field::new(2, "aggregationTemporality");
pub(super) const IS_MONOTONIC: Field = Field::new(3, "isMonotonic");

// All data points
pub(super) const START_TIME: Field = Field::new(2, "startTimeUnixNano");
pub(super) const TIME: Field = Field::new(3, "timeUnixNano");

// NumberDataPoint
pub(super) const NUMBER_ATTRIBUTES: Field = Field::new(7, "attributes");
pub(super) const NUMBER_EXEMPLARS: Field = Field::new(5, "exemplars");
pub(super) const AS_DOUBLE: Field = Field::new(4, "asDouble");
pub(super) const AS_INT: Field = Field::new(6, "asInt");

// HistogramDataPoint, ExponentialHistogramDataPoint, SummaryDataPoint
pub(super) const COUNT: Field = Field::new(4, "count");
pub(super) const SUM_OF_VALUES: Field = Field::new(5, "sum");

// HistogramDataPoint
pub(super) const HISTOGRAM_ATTRIBUTES: Field = Field::new(9, "attributes");
pub(super) const HISTOGRAM_EXEMPLARS: Field = Field::new(8, "exemplars");
pub(super) const BUCKET_COUNTS: Field = Field::new(6, "bucketCounts");
pub(super) const EXPLICIT_BOUNDS: Field = Field::new(7, "explicitBounds");

// ExponentialHistogramDataPoint
pub(super) const EXPONENTIAL_ATTRIBUTES: Field = Field::new(1, "attributes");
pub(super) const EXPONENTIAL_EXEMPLARS: Field = Field::new(11, "exemplars");
pub(super) const SCALE: Field = Field::new(6, "scale");
pub(super) const ZERO_COUNT: Field = Field::new(7, "zeroCount");
pub(super) const POSITIVE: Field = Field::new(8, "positive");
pub(super) const NEGATIVE: Field = Field::new(9, "negative");
pub(super) const ZERO_THRESHOLD: Field = Field::new(14, "zeroThreshold");

// Buckets
pub(super) const OFFSET: Field = Field::new(1, "offset");
pub(super) const OFFSET_COUNTS: Field = Field::new(2, "bucketCounts");

// SummaryDataPoint
pub(super) const SUMMARY_ATTRIBUTES: Field = Field::new(7, "attributes");
pub(super) const QUANTILE_VALUES: Field = Field::new(6, "quantileValues");

// ValueAtQuantile
pub(super) const QUANTILE: Field = Field::new(1, "quantile");
pub(super) const QUANTILE_VALUE: Field = Field::new(2, "value");

// Exemplar
pub(super) const EXEMPLAR_TIME: Field = Field::new(2, "timeUnixNano");
pub(super) const EXEMPLAR_DOUBLE: Field = Field::new(3, "asDouble");
pub(super) const SPAN_ID: Field = Field::new(4, "spanId");
pub(super) const TRACE_ID: Field = Field::new(5, "traceId");
pub(super) const FILTERED_ATTRIBUTES: Field = Field::new(7, "filteredAttributes");

// KeyValue
pub(super) const KEY: Field = Field::new(1, "key");
pub(super) const VALUE: Field = Field::new(2, "value");

// AnyValue
pub(super) const STRING_VALUE: Field = Field::new(1, "stringValue");
pub(super) const BOOL_VALUE: Field = Field::new(2, "boolValue");
