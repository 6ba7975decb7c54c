//! The families of a layer, and the series of an endpoint, which are bound on first use.

use std::borrow::Cow;
use std::sync::OnceLock;

use tallies::Error;
use tallies::Registry;
use tallies::label::{AnyLabels, DEFAULT_LIMIT};
use tallies::{Bound, Counter, Histogram, UpDownCounter};

use super::chain::Chain;
use super::exchange::FailureKind;
use super::routes::METHODS;
use super::scheme::{BYTES, LabelSource, NoAnswer, STREAMS, Scheme, Spec};

/// A family, and the sources of its label values.
#[derive(Debug)]
pub(super) struct LabelledFamily<M> {
    metric: M,
    labels: &'static [(&'static str, LabelSource)],
}

/// The registered families of a layer. A family that its scheme does not have is `None`. All fields
/// are read-only after construction.
#[derive(Debug)]
pub(super) struct Families {
    started: Option<LabelledFamily<Counter<AnyLabels>>>,
    answered: Option<LabelledFamily<Counter<AnyLabels>>>,
    responses: Option<LabelledFamily<Counter<AnyLabels>>>,
    failed: Option<LabelledFamily<Counter<AnyLabels>>>,
    in_flight: Option<LabelledFamily<UpDownCounter<AnyLabels>>>,
    headers: Option<LabelledFamily<Histogram<AnyLabels>>>,
    duration: Option<LabelledFamily<Histogram<AnyLabels>>>,
    streams: Option<LabelledFamily<Histogram<AnyLabels>>>,
    request_bytes: Option<LabelledFamily<Histogram<AnyLabels>>>,
    response_bytes: Option<LabelledFamily<Histogram<AnyLabels>>>,
    /// Whether any family needs the time.
    timed: bool,
    /// Whether the duration histogram doubles as the request counter. Every request must then
    /// observe a duration.
    pub(super) durations_count: bool,
    pub(super) other: &'static str,
    pub(super) leaving_fails: bool,
    no_answer: NoAnswer,
    status_class: bool,
}

/// The number of different endings (status codes and kinds of failure) assumed for one endpoint.
/// Used to size the limit of series.
const ENDS: usize = 16;

/// Registers one family, or returns the identical family that is already registered.
macro_rules! declare {
    ($settings:ident, $kind:ident, $field:ident $(, $buckets:expr)?) => {
        match &$settings.scheme.$field {
            None => None,
            Some(Spec { name, help, labels }) => {
                let builder = $kind::builder(name, help).prefix($settings.prefix).label_set::<AnyLabels>()$(.buckets($buckets))?;
                let metric = $settings
                    .constant
                    .iter()
                    .fold(builder, |builder, (name, value)| builder.constant(name, value))
                    .limit($settings.series())
                    .lint(false)
                    .get_or_register($settings.registry)?;
                Some(LabelledFamily { metric, labels: *labels })
            }
        }
    };
}

/// The input for [`Families`].
pub(super) struct FamilySettings<'a> {
    pub(super) scheme: &'a Scheme,
    pub(super) prefix: &'a str,
    pub(super) constant: &'a [(String, String)],
    /// The limit of routes.
    pub(super) routes: usize,
    pub(super) registry: &'a Registry,
}

impl FamilySettings<'_> {
    /// Returns the limit of series for a family. It is large enough that every route within the
    /// limit of routes gets series of its own.
    fn series(&self) -> usize {
        let routes = self.routes.saturating_add(2);
        routes
            .saturating_mul(METHODS.len() * ENDS)
            .max(DEFAULT_LIMIT)
    }
}

impl Families {
    /// Registers the families, or returns identical ones that are already registered. The result is
    /// never freed, because routes, which are never freed either, refer to it.
    pub(super) fn leak(settings: &FamilySettings<'_>) -> Result<&'static Self, Error> {
        let scheme = settings.scheme;
        let seconds = &*scheme.buckets;
        Ok(Box::leak(Box::new(Self {
            started: declare!(settings, Counter, started),
            answered: declare!(settings, Counter, answered),
            responses: declare!(settings, Counter, responses),
            failed: declare!(settings, Counter, failed),
            in_flight: declare!(settings, UpDownCounter, in_flight),
            headers: declare!(settings, Histogram, headers, seconds),
            duration: declare!(settings, Histogram, duration, seconds),
            streams: declare!(settings, Histogram, streams, STREAMS),
            request_bytes: declare!(settings, Histogram, request_bytes, BYTES),
            response_bytes: declare!(settings, Histogram, response_bytes, BYTES),
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

    /// Returns whether a call that gets no response observes the time to its failure in `headers`.
    pub(super) fn times_failures(&self) -> bool {
        self.no_answer == NoAnswer::Kind
    }

    /// Returns whether sizes of request bodies are observed.
    pub(super) fn has_request_sizes(&self) -> bool {
        self.request_bytes.is_some()
    }

    /// Returns the value of the status label.
    fn status_text(&self, end: End) -> Cow<'static, str> {
        let status = match (end.status, end.failure, self.no_answer) {
            (0, Some(failure), NoAnswer::Kind) => return failure.as_str().into(),
            (0, Some(FailureKind::Cancelled), NoAnswer::Status) => 499,
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

/// How a request ended, in as much detail as labels show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// 0 if there was no response.
    pub(super) status: u16,
    pub(super) failure: Option<FailureKind>,
}

/// A placeholder for families without labels that depend on the end.
const BEGINS: End = End {
    status: 0,
    failure: None,
};

/// The effect of the request method on the response body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MethodKind {
    /// There may be a body.
    Body,
    /// There is no body.
    HeadOnly,
    /// After a 2xx response, the connection continues with another protocol (RFC 9110, RFC 8441).
    Tunnel,
}

/// A bound series that is set on first use; `None` inside if the layer has no such family.
type Lazy<B> = OnceLock<Option<B>>;

/// The series of one route and method, of a server or of one client.
pub(super) struct Endpoint {
    pub(super) families: &'static Families,
    pub(super) method_kind: MethodKind,
    /// Whether any family needs the time.
    pub(super) timed: bool,
    client: &'static str,
    method: &'static str,
    route: &'static str,
    /// Set by the first request; read by all threads.
    started: Lazy<Bound<Counter>>,
    /// Set by the first request; read by all threads.
    in_flight: Lazy<Bound<UpDownCounter>>,
    /// One entry per way in which requests ended so far. All threads read it and append to it.
    ends: Chain<EndSeries>,
    /// The endpoint for responses that reject the method. Set by the first such response; read by
    /// all threads.
    method_rejected: OnceLock<Box<Endpoint>>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("method", &self.method)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

/// The series of an endpoint for one way to end. Each is set by the first request that needs it,
/// and read by all threads.
#[derive(Debug)]
pub(super) struct EndSeries {
    pub(super) end: End,
    endpoint: &'static Endpoint,
    answered: Lazy<Bound<Counter>>,
    responses: Lazy<Bound<Counter>>,
    failed: Lazy<Bound<Counter>>,
    headers: Lazy<Bound<Histogram>>,
    duration: Lazy<Bound<Histogram>>,
    streams: Lazy<Bound<Histogram>>,
    request_bytes: Lazy<Bound<Histogram>>,
    response_bytes: Lazy<Bound<Histogram>>,
}

/// Returns the series of a family, binding it on first use. Returns `None` if the layer has no
/// such family.
macro_rules! series {
    ($series:expr, $field:ident, $endpoint:expr, $end:expr) => {
        $series
            .$field
            .get_or_init(|| {
                let LabelledFamily { metric, labels } = $endpoint.families.$field.as_ref()?;
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
            method_kind: match method {
                "HEAD" => MethodKind::HeadOnly,
                "CONNECT" => MethodKind::Tunnel,
                _ => MethodKind::Body,
            },
            timed: families.timed,
            client,
            method,
            route,
            started: Lazy::new(),
            in_flight: Lazy::new(),
            ends: Chain::default(),
            method_rejected: OnceLock::new(),
        }
    }

    /// Returns the endpoint that counts a response with this status.
    ///
    /// A response that rejects the method (405 or 501) counts under the method `other`. Otherwise a
    /// client that tries every method on every route would create series for all of them, and these
    /// series are never removed.
    #[inline]
    pub(super) fn for_status(&'static self, status: u16) -> &'static Self {
        if matches!(status, 405 | 501) && self.method != self.families.other {
            self.method_rejected()
        } else {
            self
        }
    }

    #[cold]
    fn method_rejected(&'static self) -> &'static Self {
        self.method_rejected.get_or_init(|| {
            let other = self.families.other;
            Box::new(Self::new(self.families, self.client, other, self.route))
        })
    }

    /// Counts the start of a request.
    #[inline]
    pub(super) fn begin(&self) {
        if let Some(started) = series!(self, started, self, BEGINS) {
            started.inc();
        }
        if let Some(in_flight) = series!(self, in_flight, self, BEGINS) {
            in_flight.inc();
        }
    }

    /// Counts a request as no longer in flight.
    #[inline]
    pub(super) fn leave(&self) {
        if let Some(in_flight) = series!(self, in_flight, self, BEGINS) {
            in_flight.dec();
        }
    }

    /// Returns the series for requests that ended in this way.
    #[inline]
    pub(super) fn series(&'static self, end: End) -> &'static EndSeries {
        let is = |series: &EndSeries| series.end == end;
        match self.ends.find(is) {
            Some(series) => series,
            None => self.ends.find_or_make(is, || EndSeries::new(end, self)),
        }
    }

    /// Calls `f` with the labels of a family.
    #[cold]
    fn labelled<R>(
        &self,
        labels: &[(&'static str, LabelSource)],
        end: End,
        f: impl FnOnce(&[(&str, &str)]) -> R,
    ) -> R {
        let failure = end.failure.map_or("", FailureKind::as_str);
        let texts: Vec<Cow<'_, str>> = labels
            .iter()
            .map(|(_, part)| match part {
                LabelSource::Client => self.client.into(),
                LabelSource::Method => self.method.into(),
                LabelSource::Route => self.route.into(),
                LabelSource::Status => self.families.status_text(end),
                LabelSource::ErrorType if failure.is_empty() && end.status >= 500 => {
                    self.families.status_text(end)
                }
                LabelSource::Failure | LabelSource::ErrorType => failure.into(),
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

/// Defines methods that observe a value in one family.
macro_rules! observe {
    ($($name:ident: $field:ident, $ty:ty;)*) => {$(
        #[inline]
        pub(super) fn $name(&self, value: $ty) {
            if let Some(series) = series!(self, $field, self.endpoint, self.end) {
                series.observe(value as f64);
            }
        }
    )*};
}

impl EndSeries {
    fn new(end: End, endpoint: &'static Endpoint) -> Self {
        Self {
            end,
            endpoint,
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

    /// Counts the request as answered.
    #[inline]
    pub(super) fn answer(&self) {
        if let Some(answered) = series!(self, answered, self.endpoint, self.end) {
            answered.inc();
        }
        if let Some(responses) = series!(self, responses, self.endpoint, self.end) {
            responses.inc();
        }
    }

    /// Counts the request as failed.
    #[inline]
    pub(super) fn fail(&self) {
        if let Some(failed) = series!(self, failed, self.endpoint, self.end) {
            failed.inc();
        }
    }

    /// Observes the time to the head and returns it. Calls `seconds` only if the family exists.
    #[inline]
    pub(super) fn headers(&self, seconds: impl FnOnce() -> Option<f64>) -> Option<f64> {
        let headers = series!(self, headers, self.endpoint, self.end)?;
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
