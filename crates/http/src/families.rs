//! The families of a layer, and the series of an endpoint, which are bound on first use.

use std::borrow::Cow;
use std::sync::OnceLock;

use tallies::label::{AnyLabels, DEFAULT_LIMIT};
use tallies::{Bound, Builder, Counter, Error, Histogram, Metric, Registry, UpDownCounter};

use super::chain::Chain;
use super::exchange::FailureKind;
use super::routes::{METHODS, Route, Routes};
use super::scheme::{BYTES, LabelSource, Labels, NoAnswer, STREAMS, Scheme, Spec};

/// The registered families of a layer. A family that its scheme does not have is `None`. All fields
/// are read-only after construction.
#[derive(Debug)]
pub(super) struct Families {
    started: Option<Counter<AnyLabels>>,
    answered: Option<Counter<AnyLabels>>,
    responses: Option<Counter<AnyLabels>>,
    failed: Option<Counter<AnyLabels>>,
    in_flight: Option<UpDownCounter<AnyLabels>>,
    headers: Option<Histogram<AnyLabels>>,
    duration: Option<Histogram<AnyLabels>>,
    streams: Option<Histogram<AnyLabels>>,
    pub(super) request_bytes: Option<Histogram<AnyLabels>>,
    response_bytes: Option<Histogram<AnyLabels>>,
    /// The limit of routes.
    pub(super) limit: usize,
    pub(super) scheme: Scheme,
}

/// The number of different endings (status codes and kinds of failure) assumed for one endpoint.
/// Used to size the limit of series.
const ENDS: usize = 16;

/// Registers one family, or returns the identical family that is already registered.
macro_rules! declare {
    ($settings:ident, $registry:ident, $kind:ident, $field:ident $(, $buckets:expr)?) => {
        match &$settings.scheme.$field {
            None => None,
            Some(Spec { name, help, .. }) => {
                let builder = $kind::builder(name, help).label_set::<AnyLabels>();
                let builder = $settings.apply(builder$(.buckets($buckets))?);
                let builder = builder.limit($settings.series()).lint(false);
                Some(builder.get_or_register($registry)?)
            }
        }
    };
}

/// The settings of servers and clients alike.
#[derive(Clone, Debug)]
pub(super) struct FamilySettings {
    pub(super) scheme: Scheme,
    pub(super) prefix: String,
    pub(super) constant: Vec<(String, String)>,
    /// The limit of routes.
    pub(super) routes: usize,
}

impl FamilySettings {
    pub(super) fn new(scheme: Scheme, prefix: &str) -> Self {
        Self {
            scheme,
            prefix: prefix.to_owned(),
            constant: Vec::new(),
            routes: 1000,
        }
    }

    /// Sets what all families of a layer have.
    pub(super) fn apply<M: Metric>(&self, builder: Builder<M>) -> Builder<M> {
        let constant = self.constant.iter();
        constant.fold(builder.prefix(&self.prefix), |builder, (name, value)| {
            builder.constant(name, value)
        })
    }

    /// Returns the limit of series for a family. It is large enough that every route within the
    /// limit of routes gets series of its own.
    fn series(&self) -> usize {
        let routes = self.routes.saturating_add(2);
        let series = routes.saturating_mul(METHODS.len() * ENDS);
        series.max(DEFAULT_LIMIT)
    }
}

impl Families {
    /// Registers the families, or returns identical ones that are already registered. The result is
    /// never freed, because routes, which are never freed either, refer to it.
    #[track_caller]
    pub(super) fn leak(
        settings: &FamilySettings,
        registry: &Registry,
    ) -> Result<&'static Self, Error> {
        let scheme = &settings.scheme;
        let seconds = &*scheme.buckets;
        Ok(Box::leak(Box::new(Self {
            started: declare!(settings, registry, Counter, started),
            answered: declare!(settings, registry, Counter, answered),
            responses: declare!(settings, registry, Counter, responses),
            failed: declare!(settings, registry, Counter, failed),
            in_flight: declare!(settings, registry, UpDownCounter, in_flight),
            headers: declare!(settings, registry, Histogram, headers, seconds),
            duration: declare!(settings, registry, Histogram, duration, seconds),
            streams: declare!(settings, registry, Histogram, streams, STREAMS),
            request_bytes: declare!(settings, registry, Histogram, request_bytes, BYTES),
            response_bytes: declare!(settings, registry, Histogram, response_bytes, BYTES),
            limit: settings.routes,
            scheme: scheme.clone(),
        })))
    }

    /// Returns the value of the status label.
    fn status_text(&self, end: End) -> Cow<'static, str> {
        let status = match (end.status, end.failure, self.scheme.no_answer) {
            (0, Some(failure), NoAnswer::Kind) => return failure.as_str().into(),
            (0, Some(FailureKind::Cancelled), NoAnswer::Status) => 499,
            (0, Some(_), NoAnswer::Status) => 500,
            (0, ..) => return "".into(),
            (status, ..) => status,
        };
        if self.scheme.status_class {
            format!("{}xx", status / 100).into()
        } else {
            status.to_string().into()
        }
    }
}

/// How a request ended, in as much detail as labels show. The default is for families without
/// labels that depend on the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// 0 if there was no response.
    pub(super) status: u16,
    pub(super) failure: Option<FailureKind>,
}

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
    routes: &'static Routes,
    route: &'static Route,
    method: &'static str,
    /// Set by the first request; read by all threads.
    started: Lazy<Bound<Counter>>,
    /// Set by the first request; read by all threads.
    in_flight: Lazy<Bound<UpDownCounter>>,
    /// One entry per way in which requests ended so far. All threads read it and append to it.
    ends: Chain<EndSeries>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("method", &self.method)
            .field("route", &self.route.name)
            .finish_non_exhaustive()
    }
}

/// The series of an endpoint for one way to end.
#[derive(Debug)]
pub(super) struct EndSeries {
    pub(super) end: End,
    endpoint: &'static Endpoint,
    series: Series,
}

/// The series of one way to end. Each is set by the first request that needs it, and read by all
/// threads.
#[derive(Debug, Default)]
struct Series {
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
                let families = $endpoint.families;
                let labels = families.scheme.$field.as_ref()?.labels;
                let metric = families.$field.as_ref()?;
                Some($endpoint.labelled(labels, $end, |labels| metric.bind(labels)))
            })
            .as_ref()
    };
}

impl Endpoint {
    pub(super) fn new(
        routes: &'static Routes,
        route: &'static Route,
        method: &'static str,
    ) -> Self {
        let families = routes.families;
        let times = [&families.headers, &families.duration, &families.streams];
        Self {
            families,
            method_kind: match method {
                "HEAD" => MethodKind::HeadOnly,
                "CONNECT" => MethodKind::Tunnel,
                _ => MethodKind::Body,
            },
            timed: times.iter().any(|family| family.is_some()),
            routes,
            route,
            method,
            started: Lazy::new(),
            in_flight: Lazy::new(),
            ends: Chain::default(),
        }
    }

    /// Counts the start of a request.
    #[inline]
    pub(super) fn begin(&self) {
        if let Some(started) = series!(self, started, self, End::default()) {
            started.inc();
        }
        if let Some(in_flight) = series!(self, in_flight, self, End::default()) {
            in_flight.inc();
        }
    }

    /// Counts a request as no longer in flight.
    #[inline]
    pub(super) fn leave(&self) {
        if let Some(in_flight) = series!(self, in_flight, self, End::default()) {
            in_flight.dec();
        }
    }

    /// Returns the series for requests that ended in this way.
    ///
    /// Requests whose method was rejected (405) are no exception. There are nine methods and
    /// `other`, so a client that tries all of them on a route makes ten series and no more.
    #[inline]
    pub(super) fn series(&'static self, end: End) -> &'static EndSeries {
        let is = |series: &EndSeries| series.end == end;
        match self.ends.find(is) {
            Some(series) => series,
            None => self.ends.find_or_make(is, || EndSeries {
                end,
                endpoint: self,
                series: Series::default(),
            }),
        }
    }

    /// Calls `f` with the labels of a family.
    #[cold]
    fn labelled<R>(&self, labels: Labels, end: End, f: impl FnOnce(&[(&str, &str)]) -> R) -> R {
        let failure = end.failure.map_or("", FailureKind::as_str);
        let text = |source: &LabelSource| match source {
            LabelSource::Client => Cow::Borrowed(&*self.routes.client),
            LabelSource::Method => Cow::Borrowed(self.method),
            LabelSource::Route => Cow::Borrowed(&*self.route.name),
            LabelSource::Status => self.families.status_text(end),
            LabelSource::ErrorType if failure.is_empty() && end.status >= 500 => {
                self.families.status_text(end)
            }
            LabelSource::Failure | LabelSource::ErrorType => failure.into(),
        };
        let texts: Vec<Cow<'_, str>> = labels.iter().map(|(_, source)| text(source)).collect();
        let names = labels.iter().map(|(name, _)| *name);
        let labels: Vec<_> = names.zip(texts.iter().map(|text| &**text)).collect();
        f(&labels)
    }
}

/// Defines methods that observe a value in one family.
macro_rules! observe {
    ($($name:ident: $field:ident, $ty:ty;)*) => {$(
        #[inline]
        pub(super) fn $name(&self, value: $ty) {
            if let Some(series) = series!(self.series, $field, self.endpoint, self.end) {
                series.observe(value as f64);
            }
        }
    )*};
}

impl EndSeries {
    /// Counts the request as answered.
    #[inline]
    pub(super) fn answer(&self) {
        if let Some(answered) = series!(self.series, answered, self.endpoint, self.end) {
            answered.inc();
        }
        if let Some(responses) = series!(self.series, responses, self.endpoint, self.end) {
            responses.inc();
        }
    }

    /// Counts the request as failed.
    #[inline]
    pub(super) fn fail(&self) {
        if let Some(failed) = series!(self.series, failed, self.endpoint, self.end) {
            failed.inc();
        }
    }

    /// Observes the time to the head and returns it. Calls `seconds` only if the family exists.
    #[inline]
    pub(super) fn headers(&self, seconds: impl FnOnce() -> Option<f64>) -> Option<f64> {
        let headers = series!(self.series, headers, self.endpoint, self.end)?;
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
