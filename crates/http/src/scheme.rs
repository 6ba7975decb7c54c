//! Presets: which families a layer has, with their names, help texts, buckets and labels.

use std::borrow::Cow;

use tallies::buckets::{DEFAULT, exponential_array};

use LabelSource::{Client, ErrorType, Failure, Method, Route, Status};

/// The source of a label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LabelSource {
    /// The name of the service that the client calls.
    Client,
    Method,
    Route,
    Status,
    /// The kind of failure; empty if the request did not fail.
    Failure,
    /// Like `Failure`, but the status code for a response that reports a server error (5xx).
    ErrorType,
}

/// Label names, with the sources of their values.
pub(super) type Labels = &'static [(&'static str, LabelSource)];

/// One family: its name without the prefix, its help text, and its labels.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) name: Cow<'static, str>,
    pub(super) help: &'static str,
    pub(super) labels: Labels,
}

/// The value of the status label for a request without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// 499 if the client left (as nginx logs it), 500 if the handler failed.
    Status,
    /// The kind of the failure.
    Kind,
    /// Empty.
    Nothing,
}

/// The families of a layer and their names. A family that is `None` is not measured.
#[derive(Clone, Debug)]
pub(super) struct Scheme {
    /// Counts requests that started.
    pub(super) started: Option<Spec>,
    /// Counts every request once, with the status of its response or of its failure.
    pub(super) answered: Option<Spec>,
    /// Counts every request once, without the status.
    pub(super) responses: Option<Spec>,
    /// Counts failed requests.
    pub(super) failed: Option<Spec>,
    /// Whether a request whose client left counts as failed.
    pub(super) leaving_fails: bool,
    /// Requests in flight.
    pub(super) in_flight: Option<Spec>,
    /// Seconds to the head of the response.
    pub(super) headers: Option<Spec>,
    /// Seconds to the end of the response body.
    pub(super) duration: Option<Spec>,
    /// Seconds to the end of the response body, for event streams.
    pub(super) streams: Option<Spec>,
    /// Sizes of request bodies, as read by the service, or as announced.
    pub(super) request_bytes: Option<Spec>,
    /// Sizes of response bodies, as sent.
    pub(super) response_bytes: Option<Spec>,
    /// Bounds of `headers` and `duration`.
    pub(super) buckets: Cow<'static, [f64]>,
    pub(super) no_answer: NoAnswer,
    /// The label value for an unknown method.
    pub(super) other: &'static str,
    /// Whether the status label has classes (`2xx`) instead of codes (`204`).
    pub(super) status_class: bool,
}

/// A preset without families, to start from.
const NOTHING: Scheme = Scheme {
    started: None,
    answered: None,
    responses: None,
    failed: None,
    leaving_fails: true,
    in_flight: None,
    headers: None,
    duration: None,
    streams: None,
    request_bytes: None,
    response_bytes: None,
    buckets: Cow::Borrowed(DEFAULT),
    no_answer: NoAnswer::Status,
    other: "other",
    status_class: false,
};

const fn spec(name: &'static str, help: &'static str, labels: Labels) -> Option<Spec> {
    let name = Cow::Borrowed(name);
    Some(Spec { name, help, labels })
}

/// Bucket bounds for body sizes: powers of 4 from 64 bytes to 16 MiB.
pub(super) const BYTES: &[f64] = &exponential_array::<10>(64.0, 4.0);

/// Bucket bounds for stream durations, in seconds, up to one day.
pub(super) const STREAMS: &[f64] = &[
    0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 14_400.0, 86_400.0,
];

const IN_FLIGHT: &str = "Requests being answered.";
const HEAD: &str = "Time to the head of the response.";
const BODY: &str = "Time to the end of the response's body.";
const STREAM: &str = "Time to the end of responses that are streams of events.";
const READ: &str = "Size of request bodies, as read; as announced if reads are not counted.";
const SENT: &str = "Size of response bodies, as sent.";
const FAILED: &str = "Requests that failed, by kind: panic, error, body (failed while it was sent), cancelled (the client left).";
const AIO_STATUS: &str = "Requests answered, by status.";
const AIO_FAILED: &str = "Requests that ended in an error or a panic.";
const CALLS: &str = "Calls to other services, each attempt; those without an answer by kind.";
const LATENCY: &str = "Time to the head of the response, or to the failure.";
const WAITING: &str = "Calls that wait for an answer.";

const ENDPOINT: Labels = &[("method", Method), ("route", Route)];
const ANSWER: Labels = &[("method", Method), ("route", Route), ("status", Status)];
const FAILURE: Labels = &[("method", Method), ("route", Route), ("kind", Failure)];

/// The names that most Prometheus libraries use.
pub(super) const PROMETHEUS: Scheme = Scheme {
    answered: spec("http_requests_total", "Requests answered.", ANSWER),
    failed: spec("http_requests_failed_total", FAILED, FAILURE),
    in_flight: spec("http_requests_in_flight", IN_FLIGHT, ENDPOINT),
    headers: spec("http_response_start_seconds", HEAD, ENDPOINT),
    duration: spec("http_request_duration_seconds", BODY, ANSWER),
    streams: spec("http_stream_duration_seconds", STREAM, ENDPOINT),
    request_bytes: spec("http_request_size_bytes", READ, ENDPOINT),
    response_bytes: spec("http_response_size_bytes", SENT, ENDPOINT),
    ..NOTHING
};

const OTEL_METHOD: Labels = &[("http_request_method", Method)];
const OTEL: Labels = &[
    ("http_request_method", Method),
    ("http_route", Route),
    ("http_response_status_code", Status),
    ("error_type", ErrorType),
];

/// The names of OpenTelemetry's semantic conventions 1.x for HTTP metrics, as OpenTelemetry's
/// Prometheus exporter writes them. The conventions have no family for the time to the head, and
/// none for streams.
pub(super) const OPENTELEMETRY: Scheme = Scheme {
    in_flight: spec("http_server_active_requests", IN_FLIGHT, OTEL_METHOD),
    headers: spec("http_server_response_start_seconds", HEAD, OTEL),
    duration: spec("http_server_request_duration_seconds", BODY, OTEL),
    streams: spec("http_server_stream_duration_seconds", STREAM, OTEL),
    request_bytes: spec("http_server_request_body_size_bytes", READ, OTEL),
    response_bytes: spec("http_server_response_body_size_bytes", SENT, OTEL),
    buckets: Cow::Borrowed(&[
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ]),
    no_answer: NoAnswer::Nothing,
    other: "_OTHER",
    ..NOTHING
};

const AIO: Labels = &[("method", Method), ("path", Route)];
const AIO_ANSWER: Labels = &[("method", Method), ("path", Route), ("status_code", Status)];

/// The four counters of aioprometheus' middleware.
pub(super) const AIOPROMETHEUS: Scheme = Scheme {
    started: spec("requests_total_counter", "Requests received.", AIO),
    responses: spec("responses_total_counter", "Requests answered.", AIO),
    failed: spec("exceptions_total_counter", AIO_FAILED, AIO),
    leaving_fails: false,
    answered: spec("status_codes_counter", AIO_STATUS, AIO_ANSWER),
    ..NOTHING
};

/// The paths that aioprometheus' middleware excludes by default.
pub(super) const AIOPROMETHEUS_EXCLUDES: [&str; 7] = [
    "/metrics",
    "/metrics/",
    "/docs",
    "/openapi.json",
    "/docs/oauth2-redirect",
    "/redoc",
    "/favicon.ico",
];

const CALL_IN_FLIGHT: Labels = &[("client_name", Client), ("method", Method), ("path", Route)];
const CALL: Labels = &[
    ("client_name", Client),
    ("method", Method),
    ("path", Route),
    ("status_code", Status),
];

/// The names that the clients of aioli and blacksmith use, without their prefix.
pub(super) const CLIENT: Scheme = Scheme {
    answered: spec("http_requests_total", CALLS, CALL),
    headers: spec("request_latency_seconds", LATENCY, CALL),
    in_flight: spec("http_requests_in_flight", WAITING, CALL_IN_FLIGHT),
    buckets: Cow::Borrowed(&[0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6]),
    no_answer: NoAnswer::Kind,
    ..NOTHING
};
