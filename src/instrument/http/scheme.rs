//! What families there are, and what they and their labels are called: the presets.

use std::borrow::Cow;

use crate::declare::buckets::DEFAULT;

/// What a label says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Client,
    Method,
    Route,
    Status,
    /// Why it failed; empty where it did not.
    Failure,
    /// As `Failure`, and the status where that says that the server failed.
    ErrorType,
}

/// One family: its name without the prefix, help text, and label names with what they say.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) name: Cow<'static, str>,
    pub(super) help: &'static str,
    pub(super) labels: &'static [(&'static str, Part)],
}

/// What the status label says of a request that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// 499 where the client left (as nginx logs it), 500 where the handler failed.
    Status,
    /// The kind of failure.
    Kind,
    /// Nothing.
    Nothing,
}

/// What is measured, under which names.
#[derive(Clone, Debug)]
pub(super) struct Scheme {
    /// Requests that began.
    pub(super) started: Option<Spec>,
    /// Requests that got an answer, or failed to: each once, with its status.
    pub(super) answered: Option<Spec>,
    /// The same without the status.
    pub(super) responses: Option<Spec>,
    pub(super) failed: Option<Spec>,
    /// Whether a client that left is a failure.
    pub(super) leaving_fails: bool,
    pub(super) in_flight: Option<Spec>,
    /// Seconds to the response's head.
    pub(super) headers: Option<Spec>,
    /// Seconds to the end of the response's body.
    pub(super) duration: Option<Spec>,
    /// The same, of event streams.
    pub(super) streams: Option<Spec>,
    pub(super) request_bytes: Option<Spec>,
    pub(super) response_bytes: Option<Spec>,
    pub(super) buckets: Cow<'static, [f64]>,
    pub(super) no_answer: NoAnswer,
    /// A method that nobody knows.
    pub(super) other: &'static str,
    /// `2xx` instead of `204`.
    pub(super) status_class: bool,
}

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

const fn spec(
    name: &'static str,
    help: &'static str,
    labels: &'static [(&'static str, Part)],
) -> Option<Spec> {
    Some(Spec {
        name: Cow::Borrowed(name),
        help,
        labels,
    })
}

/// The bounds of bodies: powers of 4 from 64 bytes to 16 MiB.
pub(super) const BYTES: &[f64] = &[
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];

/// The bounds of streams, in seconds: to a day.
pub(super) const STREAMS: &[f64] = &[
    0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 14_400.0, 86_400.0,
];

const ENDPOINT: &[(&str, Part)] = &[("method", Part::Method), ("route", Part::Route)];
const ANSWER: &[(&str, Part)] = &[
    ("method", Part::Method),
    ("route", Part::Route),
    ("status", Part::Status),
];

/// The names that most Prometheus libraries use.
pub(super) const PROMETHEUS: Scheme = Scheme {
    answered: spec("http_requests_total", "Requests answered.", ANSWER),
    failed: spec(
        "http_requests_failed_total",
        "Requests that failed, by kind: panic, error, body (failed while it was sent), cancelled (the client left).",
        &[
            ("method", Part::Method),
            ("route", Part::Route),
            ("kind", Part::Failure),
        ],
    ),
    in_flight: spec(
        "http_requests_in_flight",
        "Requests being answered.",
        ENDPOINT,
    ),
    headers: spec(
        "http_response_start_seconds",
        "Time to the head of the response.",
        ENDPOINT,
    ),
    duration: spec(
        "http_request_duration_seconds",
        "Time to the end of the response's body.",
        ANSWER,
    ),
    streams: spec(
        "http_stream_duration_seconds",
        "Time to the end of responses that are streams of events.",
        ENDPOINT,
    ),
    request_bytes: spec(
        "http_request_size_bytes",
        "Size of request bodies, as announced.",
        ENDPOINT,
    ),
    response_bytes: spec(
        "http_response_size_bytes",
        "Size of response bodies, as sent.",
        ENDPOINT,
    ),
    ..NOTHING
};

const OTEL_ANSWER: &[(&str, Part)] = &[
    ("http_request_method", Part::Method),
    ("http_route", Part::Route),
    ("http_response_status_code", Part::Status),
    ("error_type", Part::ErrorType),
];

/// OpenTelemetry semantic conventions 1.x for HTTP metrics, as its Prometheus exporter spells them. The time to the
/// head and that of streams are not in the conventions.
pub(super) const OPENTELEMETRY: Scheme = Scheme {
    in_flight: spec(
        "http_server_active_requests",
        "Requests being answered.",
        &[("http_request_method", Part::Method)],
    ),
    headers: spec(
        "http_server_response_start_seconds",
        "Time to the head of the response.",
        OTEL_ANSWER,
    ),
    duration: spec(
        "http_server_request_duration_seconds",
        "Time to the end of the response's body.",
        OTEL_ANSWER,
    ),
    streams: spec(
        "http_server_stream_duration_seconds",
        "Time to the end of responses that are streams of events.",
        OTEL_ANSWER,
    ),
    request_bytes: spec(
        "http_server_request_body_size_bytes",
        "Size of request bodies, as announced.",
        OTEL_ANSWER,
    ),
    response_bytes: spec(
        "http_server_response_body_size_bytes",
        "Size of response bodies, as sent.",
        OTEL_ANSWER,
    ),
    buckets: Cow::Borrowed(&[
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ]),
    no_answer: NoAnswer::Nothing,
    other: "_OTHER",
    ..NOTHING
};

const AIO: &[(&str, Part)] = &[("method", Part::Method), ("path", Part::Route)];

/// The four counters of aioprometheus' middleware.
pub(super) const AIOPROMETHEUS: Scheme = Scheme {
    started: spec("requests_total_counter", "Requests received.", AIO),
    responses: spec("responses_total_counter", "Requests answered.", AIO),
    failed: spec(
        "exceptions_total_counter",
        "Requests that ended in an error or a panic.",
        AIO,
    ),
    leaving_fails: false,
    answered: spec(
        "status_codes_counter",
        "Requests answered, by status.",
        &[
            ("method", Part::Method),
            ("path", Part::Route),
            ("status_code", Part::Status),
        ],
    ),
    ..NOTHING
};

/// What aioprometheus' middleware leaves out, unless it is told otherwise.
pub(super) const AIOPROMETHEUS_EXCLUDES: [&str; 7] = [
    "/metrics",
    "/metrics/",
    "/docs",
    "/openapi.json",
    "/docs/oauth2-redirect",
    "/redoc",
    "/favicon.ico",
];

const CALL: &[(&str, Part)] = &[
    ("client_name", Part::Client),
    ("method", Part::Method),
    ("path", Part::Route),
    ("status_code", Part::Status),
];

/// What aioli and blacksmith measure, without their prefix.
pub(super) const CLIENT: Scheme = Scheme {
    answered: spec(
        "http_requests_total",
        "Calls to other services, each attempt; those without an answer by kind.",
        CALL,
    ),
    headers: spec(
        "request_latency_seconds",
        "Time to the head of the response, or to the failure.",
        CALL,
    ),
    in_flight: spec(
        "http_requests_in_flight",
        "Calls that wait for an answer.",
        &[
            ("client_name", Part::Client),
            ("method", Part::Method),
            ("path", Part::Route),
        ],
    ),
    buckets: Cow::Borrowed(&[0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6]),
    no_answer: NoAnswer::Kind,
    ..NOTHING
};
