//! Trace ids of spans: where they come from, and how exemplars show them.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::dispatcher::{self, Dispatch};
use tracing::span::Id;

type TraceFn = dyn Fn(&Id, &Dispatch) -> Option<u128> + Send + Sync;

/// A function that returns the trace id of a span.
#[derive(Clone)]
pub(crate) struct TraceSource(Arc<TraceFn>);

impl TraceSource {
    pub(crate) fn new(
        source: impl Fn(&Id, &Dispatch) -> Option<u128> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(source))
    }

    /// Returns the trace id of a span. 0 is no trace id, by W3C Trace Context.
    ///
    /// A panic of the function costs the exemplar and nothing else. Spans are left and events
    /// happen while another panic unwinds, and then a second one would abort the program.
    pub(crate) fn of(&self, span: &Id, dispatch: &Dispatch) -> Option<u128> {
        let id = catch_unwind(AssertUnwindSafe(|| (self.0)(span, dispatch)));
        id.ok().flatten().filter(|id| *id != 0)
    }

    /// Returns the trace id of the thread's current span.
    pub(crate) fn current(&self) -> Option<u128> {
        dispatcher::get_default(|dispatch| {
            let current = dispatch.current_span();
            current.id().and_then(|id| self.of(id, dispatch))
        })
    }
}

impl fmt::Debug for TraceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TraceSource")
    }
}

/// The trace of a span, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TraceState {
    /// Nobody asked yet.
    #[default]
    Unknown,
    /// The span has no trace, or a sampler dropped it.
    Nothing,
    Id(u128),
}

impl TraceState {
    pub(crate) fn id(self) -> Option<u128> {
        match self {
            Self::Id(id) => Some(id),
            Self::Unknown | Self::Nothing => None,
        }
    }
}

impl From<Option<u128>> for TraceState {
    fn from(id: Option<u128>) -> Self {
        id.map_or(Self::Nothing, Self::Id)
    }
}

/// A trace id in 32 hexadecimal digits.
pub(crate) struct TraceText([u8; 32]);

impl TraceText {
    pub(crate) fn new(id: u128) -> Self {
        let mut text = [b'0'; 32];
        for (i, digit) in text.iter_mut().enumerate() {
            let nibble = (id >> (4 * (31 - i))) as u8 & 0xf;
            *digit = if nibble < 10 { b'0' } else { b'a' - 10 } + nibble;
        }
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The layer of `tracing-opentelemetry` as a source.
#[cfg(feature = "opentelemetry")]
pub(crate) mod opentelemetry {
    use opentelemetry::Context;
    use opentelemetry::trace::TraceContextExt;
    use tracing::dispatcher::Dispatch;
    use tracing::span::Id;

    /// Returns the trace id of a sampled span.
    pub(crate) fn of(span: &Id, dispatch: &Dispatch) -> Option<u128> {
        sampled(&tracing_opentelemetry::get_otel_context(span, dispatch)?)
    }

    /// Returns the trace id of the thread's OpenTelemetry context, which spans of `tracing` are in,
    /// too.
    pub(crate) fn current() -> Option<u128> {
        Context::map_current(sampled)
    }

    fn sampled(context: &Context) -> Option<u128> {
        let span = context.span();
        let span = span.span_context();
        let id = || u128::from_be_bytes(span.trace_id().to_bytes());
        span.is_sampled().then(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_32_digits() {
        let id = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
        let text = TraceText::new(id);
        assert_eq!(text.as_str(), format!("{id:032x}"));
        assert_eq!(TraceText::new(u128::MAX).as_str(), "f".repeat(32));
    }

    #[test]
    fn zero_is_no_trace_id() {
        let source = TraceSource::new(|_, _| Some(0));
        assert_eq!(source.of(&Id::from_u64(1), &Dispatch::none()), None);
    }
}
