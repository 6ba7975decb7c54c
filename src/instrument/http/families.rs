//! The families of a layer, and the series of one endpoint, each bound when it is first needed.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use crate::collect::Registry;
use crate::declare::label::DynLabelValue;
use crate::declare::{
    AnyLabels, BoundCounter, BoundHistogram, BoundUpDownCounter, Counter, Histogram, UpDownCounter,
};
use crate::error::Error;

use super::chain::Chain;
use super::exchange::Failure;
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
    pub(super) started: Option<Family<Counter<AnyLabels>>>,
    pub(super) answered: Option<Family<Counter<AnyLabels>>>,
    pub(super) responses: Option<Family<Counter<AnyLabels>>>,
    pub(super) failed: Option<Family<Counter<AnyLabels>>>,
    pub(super) in_flight: Option<Family<UpDownCounter<AnyLabels>>>,
    pub(super) headers: Option<Family<Histogram<AnyLabels>>>,
    pub(super) duration: Option<Family<Histogram<AnyLabels>>>,
    pub(super) streams: Option<Family<Histogram<AnyLabels>>>,
    pub(super) request_bytes: Option<Family<Histogram<AnyLabels>>>,
    pub(super) response_bytes: Option<Family<Histogram<AnyLabels>>>,
    pub(super) other: &'static str,
    pub(super) leaving_fails: bool,
    no_answer: NoAnswer,
    status_class: bool,
}

/// Declares one family, or finds it declared alike.
macro_rules! declare {
    ($kind:ident, $spec:expr, $prefix:expr, $constant:expr, $registry:expr $(, $buckets:expr)?) => {
        match $spec {
            None => None,
            Some(Spec { name, help, labels }) => {
                let name = format!("{}{name}", $prefix);
                let builder = $kind::<AnyLabels>::builder(&name, help)$(.buckets($buckets))?;
                let metric = $constant
                    .iter()
                    .fold(builder, |builder, (name, value)| builder.constant(name, value))
                    .get_or_register($registry)?;
                Some(Family { metric, labels })
            }
        }
    };
}

impl Families {
    pub(super) fn new(
        scheme: &Scheme,
        prefix: &str,
        constant: &[(String, String)],
        registry: &Registry,
    ) -> Result<Self, Error> {
        let scheme = scheme.clone();
        let seconds = &*scheme.buckets;
        Ok(Self {
            started: declare!(Counter, scheme.started, prefix, constant, registry),
            answered: declare!(Counter, scheme.answered, prefix, constant, registry),
            responses: declare!(Counter, scheme.responses, prefix, constant, registry),
            failed: declare!(Counter, scheme.failed, prefix, constant, registry),
            in_flight: declare!(UpDownCounter, scheme.in_flight, prefix, constant, registry),
            headers: declare!(
                Histogram,
                scheme.headers,
                prefix,
                constant,
                registry,
                seconds
            ),
            duration: declare!(
                Histogram,
                scheme.duration,
                prefix,
                constant,
                registry,
                seconds
            ),
            streams: declare!(
                Histogram,
                scheme.streams,
                prefix,
                constant,
                registry,
                STREAMS
            ),
            request_bytes: declare!(
                Histogram,
                scheme.request_bytes,
                prefix,
                constant,
                registry,
                BYTES
            ),
            response_bytes: declare!(
                Histogram,
                scheme.response_bytes,
                prefix,
                constant,
                registry,
                BYTES
            ),
            other: scheme.other,
            leaving_fails: scheme.leaving_fails,
            no_answer: scheme.no_answer,
            status_class: scheme.status_class,
        })
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

/// A method of a route, of one client or of the server.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) families: Arc<Families>,
    client: Box<str>,
    method: &'static str,
    route: Box<str>,
    started: OnceLock<BoundCounter>,
    in_flight: OnceLock<BoundUpDownCounter>,
    ends: Chain<End, Series>,
}

/// The series of an endpoint for one way to end.
#[derive(Debug, Default)]
pub(super) struct Series {
    answered: OnceLock<BoundCounter>,
    responses: OnceLock<BoundCounter>,
    failed: OnceLock<BoundCounter>,
    headers: OnceLock<BoundHistogram>,
    duration: OnceLock<BoundHistogram>,
    streams: OnceLock<BoundHistogram>,
    request_bytes: OnceLock<BoundHistogram>,
    response_bytes: OnceLock<BoundHistogram>,
}

/// Runs `f` on the series, bound now if it was not before; does nothing without a family.
macro_rules! with_series {
    ($endpoint:expr, $series:expr, $field:ident, $end:expr, $f:expr) => {
        if let Some(family) = &$endpoint.families.$field {
            let bound = $series.$field.get_or_init(|| {
                $endpoint.labelled(family.labels, $end, |labels| family.metric.bind(labels))
            });
            $f(bound);
        }
    };
}

const BEGINS: End = End {
    status: 0,
    failure: None,
};

impl Endpoint {
    pub(super) fn new(
        families: Arc<Families>,
        client: &str,
        method: &'static str,
        route: &str,
    ) -> Self {
        Self {
            families,
            client: client.into(),
            method,
            route: route.into(),
            started: OnceLock::new(),
            in_flight: OnceLock::new(),
            ends: Chain::default(),
        }
    }

    #[inline]
    pub(super) fn begin(&self) {
        with_series!(self, self, started, BEGINS, BoundCounter::inc);
        with_series!(self, self, in_flight, BEGINS, BoundUpDownCounter::inc);
    }

    #[inline]
    pub(super) fn leave(&self) {
        with_series!(self, self, in_flight, BEGINS, BoundUpDownCounter::dec);
    }

    #[inline]
    pub(super) fn series(&self, end: End) -> &Series {
        match self.ends.find(|known| *known == end) {
            Some(series) => series,
            None => self.ends.find_or_make(end, Series::default),
        }
    }

    /// Runs `f` on the labels of a family.
    #[cold]
    fn labelled<R>(
        &self,
        labels: &[(&'static str, Part)],
        end: End,
        f: impl FnOnce(&[(&str, &dyn DynLabelValue)]) -> R,
    ) -> R {
        let failure = end.failure.map_or("", Failure::kind);
        let texts: Vec<Cow<'_, str>> = labels
            .iter()
            .map(|(_, part)| match part {
                Part::Client => Cow::Borrowed(&*self.client),
                Part::Method => self.method.into(),
                Part::Route => Cow::Borrowed(&*self.route),
                Part::Status => self.families.status_text(end),
                Part::ErrorType if failure.is_empty() && end.status >= 500 => {
                    self.families.status_text(end)
                }
                Part::Failure | Part::ErrorType => failure.into(),
            })
            .collect();
        let labels: Vec<(&str, &dyn DynLabelValue)> = labels
            .iter()
            .zip(&texts)
            .map(|((name, _), text)| (*name, text as &dyn DynLabelValue))
            .collect();
        f(&labels)
    }
}

impl Series {
    #[inline]
    pub(super) fn answer(&self, of: &Endpoint, end: End) {
        with_series!(of, self, answered, end, BoundCounter::inc);
        with_series!(of, self, responses, end, BoundCounter::inc);
    }

    #[inline]
    pub(super) fn fail(&self, of: &Endpoint, end: End) {
        with_series!(of, self, failed, end, BoundCounter::inc);
    }

    #[inline]
    pub(super) fn headers(&self, of: &Endpoint, end: End, seconds: f64) {
        with_series!(of, self, headers, end, |b: &BoundHistogram| b
            .observe(seconds));
    }

    #[inline]
    pub(super) fn duration(&self, of: &Endpoint, end: End, seconds: f64) {
        with_series!(of, self, duration, end, |b: &BoundHistogram| b
            .observe(seconds));
    }

    #[inline]
    pub(super) fn stream(&self, of: &Endpoint, end: End, seconds: f64) {
        with_series!(of, self, streams, end, |b: &BoundHistogram| b
            .observe(seconds));
    }

    #[inline]
    pub(super) fn bytes(&self, of: &Endpoint, end: End, received: Option<u64>, sent: u64) {
        if let Some(received) = received {
            with_series!(of, self, request_bytes, end, |b: &BoundHistogram| b
                .observe(received as f64));
        }
        with_series!(of, self, response_bytes, end, |b: &BoundHistogram| b
            .observe(sent as f64));
    }
}
