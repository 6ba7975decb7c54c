#![doc = include_str!("../README.md")]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

#[cfg(all(target_os = "linux", not(target_feature = "crt-static")))]
mod slot;

/// The length of the part of a record that every record has. Attributes follow.
const HEADER: usize = 28;

/// The ids of a trace and of a span in it, as a tracer published them for a thread.
///
/// ```
/// if let Some(ids) = tallies_trace_context::current() {
///     println!("{:032x} {:016x} {}", ids.trace(), ids.span(), ids.is_sampled());
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceIds {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceIds {
    /// Reads the ids of a record. Returns `None` if it is not valid or has no trace id.
    ///
    /// Source: OTEP 4947, "Thread-Local Context Record".
    #[cfg_attr(
        not(all(target_os = "linux", not(target_feature = "crt-static"))),
        allow(dead_code, reason = "there is no record")
    )]
    fn of(header: [u8; HEADER]) -> Option<Self> {
        let (trace, rest) = header.split_first_chunk::<16>()?;
        let (span, rest) = rest.split_first_chunk::<8>()?;
        let &[is_valid, flags, ..] = rest else {
            return None;
        };
        let ids = Self {
            trace: u128::from_be_bytes(*trace),
            span: u64::from_be_bytes(*span),
            flags,
        };
        (is_valid == 1 && ids.trace != 0).then_some(ids)
    }

    /// Returns the id of the trace. It is not 0.
    ///
    /// ```
    /// let trace = tallies_trace_context::current().map(|ids| ids.trace());
    /// assert_eq!(trace, None, "this program has no tracer");
    /// ```
    #[must_use]
    pub fn trace(&self) -> u128 {
        self.trace
    }

    /// Returns the id of the span.
    ///
    /// ```
    /// let span = tallies_trace_context::current().map(|ids| ids.span());
    /// assert_eq!(span, None, "this program has no tracer");
    /// ```
    #[must_use]
    pub fn span(&self) -> u64 {
        self.span
    }

    /// Returns whether a sampler took the trace: bit 0 of the flags of W3C Trace Context, level 1,
    /// section 3.2.2.5. Tracers that follow a draft of OTEP 4947 never set it.
    ///
    /// ```
    /// let sampled = tallies_trace_context::current().filter(|ids| ids.is_sampled());
    /// assert_eq!(sampled, None, "this program has no tracer");
    /// ```
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// Returns the id of the trace in 32 hexadecimal digits.
    fn trace_text(self) -> String {
        let digit = |nibble: u8| if nibble < 10 { b'0' } else { b'a' - 10 } + nibble;
        let bytes = self.trace.to_be_bytes();
        let digits = bytes.map(|byte| [digit(byte >> 4), digit(byte & 0xf)]);
        std::str::from_utf8(digits.as_flattened())
            .unwrap_or_default()
            .to_owned()
    }
}

/// Returns the ids that a tracer has published for this thread.
///
/// Returns `None` if no span is current, if the program has no tracer that publishes them, on other
/// systems than Linux, in a statically linked program, and in a thread that is ending, once the
/// thread-local of this function is destroyed. The ids are those of the thread, also for a future:
/// the tracer publishes them whenever the thread changes to another span.
///
/// Costs 4 ns, and 7 ns in a program without a tracer. The first call on a thread looks the symbol
/// up, under the lock of the dynamic linker; so do a few later ones if there is none. The library
/// that has the symbol is never unloaded after that.
///
/// Source: OTEP 4947, "Reading Protocol".
///
/// ```
/// assert_eq!(tallies_trace_context::current(), None, "this program has no tracer");
/// ```
#[inline]
#[must_use]
pub fn current() -> Option<TraceIds> {
    #[cfg(all(target_os = "linux", not(target_feature = "crt-static")))]
    return slot::header().and_then(TraceIds::of);
    #[cfg(not(all(target_os = "linux", not(target_feature = "crt-static"))))]
    return None;
}

/// Returns the id of this thread's current trace in 32 hexadecimal digits, if a sampler took the
/// trace. For [`tallies::instrument::trace_ids`][trace_ids].
///
/// Costs about 60 ns more than [`current`], with one allocation.
///
/// ```
/// tallies::instrument::trace_ids(tallies_trace_context::sampled_trace_id)?;
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// [trace_ids]: https://docs.rs/tallies/latest/tallies/instrument/fn.trace_ids.html
#[must_use]
pub fn sampled_trace_id() -> Option<String> {
    let ids = current().filter(TraceIds::is_sampled);
    ids.map(TraceIds::trace_text)
}

/// Returns the id of this thread's current trace in 32 hexadecimal digits, whether a sampler took
/// the trace or not. For [`tallies::instrument::trace_ids`][trace_ids], with tracers that publish
/// no flags; with others, links may lead to traces that were never stored.
///
/// Costs about 60 ns more than [`current`], with one allocation.
///
/// ```
/// tallies::instrument::trace_ids(tallies_trace_context::trace_id)?;
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// [trace_ids]: https://docs.rs/tallies/latest/tallies/instrument/fn.trace_ids.html
#[must_use]
pub fn trace_id() -> Option<String> {
    current().map(TraceIds::trace_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of W3C Trace Context, section 3.2.3.
    fn header() -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..16].copy_from_slice(&0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes());
        header[16..24].copy_from_slice(&0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
        header[24] = 1;
        header[25] = 1;
        header
    }

    #[test]
    fn ids_are_big_endian() {
        let ids = TraceIds::of(header()).unwrap();
        assert_eq!(ids.trace_text(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(format!("{:016x}", ids.span()), "00f067aa0ba902b7");
        assert!(ids.is_sampled());
    }

    #[test]
    fn records_that_are_not_valid_have_no_ids() {
        for is_valid in [0, 2, 255] {
            let mut header = header();
            header[24] = is_valid;
            assert_eq!(TraceIds::of(header), None);
        }
        let mut header = header();
        header[..16].fill(0);
        assert_eq!(TraceIds::of(header), None, "no trace");
    }

    #[test]
    fn other_flags_say_nothing_of_the_sampler() {
        for (flags, is_sampled) in [(0, false), (2, false), (3, true), (0xff, true)] {
            let mut header = header();
            header[25] = flags;
            let ids = TraceIds::of(header).unwrap();
            assert_eq!(ids.is_sampled(), is_sampled, "{flags}");
        }
    }
}
