//! The families of a layer, and the series of one endpoint, each bound when it is first needed.

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::declare::{
    BoundCounter, BoundHistogram, BoundUpDownCounter, Counter, Histogram, UpDownCounter,
};
use crate::error::Error;
use crate::family::desc::{DEFAULT_LIMIT, prefixed};
use crate::family::label::AnyLabels;
use crate::registry::Registry;

use super::chain::Chain;
use super::exchange::Failure;
use super::routes::METHODS;
use super::scheme::{BYTES, NoAnswer, Part, STREAMS, Scheme, Spec};

/// A family, and what its labels say.
#[derive(Debug)]
pub(super) struct Family<M> {
    metric: M,
    labels: &'static [(&'static str, Part)],
}

/// What a layer counts into. Any of them may be missing.
#[derive(Debug)]
pub(super) struct Families {
    started: Option<Family<Counter<AnyLabels>>>,
    answered: Option<Family<Counter<AnyLabels>>>,
    responses: Option<Family<Counter<AnyLabels>>>,
    failed: Option<Family<Counter<AnyLabels>>>,
    in_flight: Option<Family<UpDownCounter<AnyLabels>>>,
    headers: Option<Family<Histogram<AnyLabels>>>,
    duration: Option<Family<Histogram<AnyLabels>>>,
    streams: Option<Family<Histogram<AnyLabels>>>,
    request_bytes: Option<Family<Histogram<AnyLabels>>>,
    response_bytes: Option<Family<Histogram<AnyLabels>>>,
    timed: bool,
    /// Whether requests are counted by their durations, so that each has to have one.
    pub(super) durations_count: bool,
    pub(super) other: &'static str,
    pub(super) leaving_fails: bool,
    no_answer: NoAnswer,
    status_class: bool,
}

/// The most ways in which the requests of one endpoint are taken to end: status codes, kinds of failures.
const ENDS: usize = 16;

/// Declares one family, or finds it declared alike.
macro_rules! declare {
    ($of:ident, $kind:ident, $field:ident $(, $buckets:expr)?) => {
        match &$of.scheme.$field {
            None => None,
            Some(Spec { name, help, labels }) => {
                let name = prefixed($of.prefix, name);
                let builder = $kind::<AnyLabels>::builder(&name, help)$(.buckets($buckets))?;
                let metric = $of
                    .constant
                    .iter()
                    .fold(builder, |builder, (name, value)| builder.constant(name, value))
                    .limit($of.series())
                    .get_or_register($of.registry)?;
                Some(Family { metric, labels: *labels })
            }
        }
    };
}

/// What families are made of.
pub(super) struct Making<'a> {
    pub(super) scheme: &'a Scheme,
    pub(super) prefix: &'a str,
    pub(super) constant: &'a [(String, String)],
    /// The most routes.
    pub(super) routes: usize,
    pub(super) registry: &'a Registry,
}

impl Making<'_> {
    /// The most series of a family: what is limited is routes, and those within their limit are to have series of their own.
    fn series(&self) -> usize {
        let routes = self.routes.saturating_add(2);
        routes
            .saturating_mul(METHODS.len() * ENDS)
            .max(DEFAULT_LIMIT)
    }
}

impl Families {
    /// Declares the families, or finds them declared alike. They live as long as the process, as the routes do that count
    /// into them.
    pub(super) fn leaked(of: &Making<'_>) -> Result<&'static Self, Error> {
        let scheme = of.scheme;
        let seconds = &*scheme.buckets;
        Ok(Box::leak(Box::new(Self {
            started: declare!(of, Counter, started),
            answered: declare!(of, Counter, answered),
            responses: declare!(of, Counter, responses),
            failed: declare!(of, Counter, failed),
            in_flight: declare!(of, UpDownCounter, in_flight),
            headers: declare!(of, Histogram, headers, seconds),
            duration: declare!(of, Histogram, duration, seconds),
            streams: declare!(of, Histogram, streams, STREAMS),
            request_bytes: declare!(of, Histogram, request_bytes, BYTES),
            response_bytes: declare!(of, Histogram, response_bytes, BYTES),
            timed: scheme.headers.is_some()
                || scheme.duration.is_some()
                || scheme.streams.is_some(),
            durations_count: scheme.answered.is_none(),
            other: scheme.other,
            leaving_fails: scheme.leaving_fails,
            no_answer: scheme.no_answer,
            status_class: scheme.status_class,
        })))
    }

    /// Whether the time to the head is also that to a failure without one.
    pub(super) fn waits_are_timed(&self) -> bool {
        self.no_answer == NoAnswer::Kind
    }

    fn status_text(&self, end: End) -> Cow<'static, str> {
        let status = match (end.status, end.failure, self.no_answer) {
            (0, Some(failure), NoAnswer::Kind) => return failure.kind().into(),
            (0, Some(Failure::Cancelled), NoAnswer::Status) => 499,
            (0, Some(_), NoAnswer::Status) => 500,
            (0, ..) => return "".into(),
            (status, ..) => status,
        };
        if self.status_class {
            format!("{}xx", status / 100).into()
        } else {
            status.to_string().into()
        }
    }
}

/// How a request ended, as far as labels say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// 0 if there was no answer.
    pub(super) status: u16,
    pub(super) failure: Option<Failure>,
}

const BEGINS: End = End {
    status: 0,
    failure: None,
};

/// What a method says of the body of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Body,
    HeadOnly,
    /// Once granted, the connection goes on under another protocol (RFC 9110, RFC 8441).
    Tunnel,
}

/// A series, bound when it is first needed; nothing where there is no such family.
type Lazy<B> = OnceLock<Option<B>>;

/// A method of a route, of one client or of the server.
pub(super) struct Endpoint {
    pub(super) families: &'static Families,
    pub(super) asked: Asked,
    /// Whether any family wants the time.
    pub(super) timed: bool,
    client: &'static str,
    method: &'static str,
    route: &'static str,
    started: Lazy<BoundCounter>,
    in_flight: Lazy<BoundUpDownCounter>,
    ends: Chain<Series>,
    /// Where its answers count that refuse the method; made with the first one.
    refused: OnceLock<Box<Endpoint>>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("method", &self.method)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

/// The series of an endpoint for one way to end.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) end: End,
    of: &'static Endpoint,
    answered: Lazy<BoundCounter>,
    responses: Lazy<BoundCounter>,
    failed: Lazy<BoundCounter>,
    headers: Lazy<BoundHistogram>,
    duration: Lazy<BoundHistogram>,
    streams: Lazy<BoundHistogram>,
    request_bytes: Lazy<BoundHistogram>,
    response_bytes: Lazy<BoundHistogram>,
}

/// The series of a family, bound now if it was not before; `None` without the family.
macro_rules! series {
    ($series:expr, $field:ident, $endpoint:expr, $end:expr) => {
        $series
            .$field
            .get_or_init(|| {
                let Family { metric, labels } = $endpoint.families.$field.as_ref()?;
                Some($endpoint.labelled(labels, $end, |labels| metric.bind(labels)))
            })
            .as_ref()
    };
}

impl Endpoint {
    pub(super) fn new(
        families: &'static Families,
        client: &'static str,
        method: &'static str,
        route: &'static str,
    ) -> Self {
        Self {
            families,
            asked: match method {
                "HEAD" => Asked::HeadOnly,
                "CONNECT" => Asked::Tunnel,
                _ => Asked::Body,
            },
            timed: families.timed,
            client,
            method,
            route,
            started: Lazy::new(),
            in_flight: Lazy::new(),
            ends: Chain::default(),
            refused: OnceLock::new(),
        }
    }

    /// Where an answer of this status counts. One that refuses the method counts under the method `other`: whoever tries
    /// every method on every route would make all of their series otherwise, which stay.
    #[inline]
    pub(super) fn answering(&'static self, status: u16) -> &'static Self {
        if matches!(status, 405 | 501) && self.method != self.families.other {
            self.refused()
        } else {
            self
        }
    }

    #[cold]
    fn refused(&'static self) -> &'static Self {
        self.refused.get_or_init(|| {
            let other = self.families.other;
            Box::new(Self::new(self.families, self.client, other, self.route))
        })
    }

    #[inline]
    pub(super) fn begin(&self) {
        if let Some(started) = series!(self, started, self, BEGINS) {
            started.inc();
        }
        if let Some(in_flight) = series!(self, in_flight, self, BEGINS) {
            in_flight.inc();
        }
    }

    #[inline]
    pub(super) fn leave(&self) {
        if let Some(in_flight) = series!(self, in_flight, self, BEGINS) {
            in_flight.dec();
        }
    }

    #[inline]
    pub(super) fn series(&'static self, end: End) -> &'static Series {
        let is = |series: &Series| series.end == end;
        match self.ends.find(is) {
            Some(series) => series,
            None => self.ends.find_or_make(is, || Series::new(end, self)),
        }
    }

    /// Runs `f` on the labels of a family.
    #[cold]
    fn labelled<R>(
        &self,
        labels: &[(&'static str, Part)],
        end: End,
        f: impl FnOnce(&[(&str, &str)]) -> R,
    ) -> R {
        let failure = end.failure.map_or("", Failure::kind);
        let texts: Vec<Cow<'_, str>> = labels
            .iter()
            .map(|(_, part)| match part {
                Part::Client => self.client.into(),
                Part::Method => self.method.into(),
                Part::Route => self.route.into(),
                Part::Status => self.families.status_text(end),
                Part::ErrorType if failure.is_empty() && end.status >= 500 => {
                    self.families.status_text(end)
                }
                Part::Failure | Part::ErrorType => failure.into(),
            })
            .collect();
        let labels: Vec<(&str, &str)> = labels
            .iter()
            .zip(&texts)
            .map(|((name, _), text)| (*name, &**text))
            .collect();
        f(&labels)
    }
}

/// Methods that observe in one family.
macro_rules! observe {
    ($($name:ident: $field:ident, $ty:ty;)*) => {$(
        #[inline]
        pub(super) fn $name(&self, value: $ty) {
            if let Some(series) = series!(self, $field, self.of, self.end) {
                series.observe(value as f64);
            }
        }
    )*};
}

impl Series {
    fn new(end: End, of: &'static Endpoint) -> Self {
        Self {
            end,
            of,
            answered: Lazy::new(),
            responses: Lazy::new(),
            failed: Lazy::new(),
            headers: Lazy::new(),
            duration: Lazy::new(),
            streams: Lazy::new(),
            request_bytes: Lazy::new(),
            response_bytes: Lazy::new(),
        }
    }

    #[inline]
    pub(super) fn answer(&self) {
        if let Some(answered) = series!(self, answered, self.of, self.end) {
            answered.inc();
        }
        if let Some(responses) = series!(self, responses, self.of, self.end) {
            responses.inc();
        }
    }

    #[inline]
    pub(super) fn fail(&self) {
        if let Some(failed) = series!(self, failed, self.of, self.end) {
            failed.inc();
        }
    }

    /// Observes the time to the head, which is asked for only if there is such a family; says what it is.
    #[inline]
    pub(super) fn headers(&self, seconds: impl FnOnce() -> Option<f64>) -> Option<f64> {
        let headers = series!(self, headers, self.of, self.end)?;
        let seconds = seconds()?;
        headers.observe(seconds);
        Some(seconds)
    }

    observe! {
        duration: duration, f64;
        stream: streams, f64;
        received: request_bytes, u64;
        sent: response_bytes, u64;
    }
}
