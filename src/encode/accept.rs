//! Accept negotiation: the format that a client prefers among those that this crate writes.
//!
//! - Ranges that name a format compete by their q-values. If two are equal, the first in the header
//!   wins.
//! - Ranges that name no format of this crate (a wildcard, a browser's list, an unknown version,
//!   garbage) are ignored.
//! - If no range remains, the result is the text format 0.0.4, never an error.
//! - A wildcard never beats a named format, whatever its q: some Prometheus 2.x versions send
//!   `*/*;q=2`.
//! - Prometheus 3 names no escaping beside protobuf, but in its other ranges. Protobuf takes it
//!   from there, so that a name stays if the scraper changes its protocol.
//! - The media type of a range may come after some of its parameters: aioprometheus accepts any
//!   order.
//!
//! Sources: RFC 9110, section 12.5.1; content negotiation and escaping schemes in the documentation
//! of Prometheus; the headers that Prometheus 2.0 to 3.x send.

use super::Escaping;

/// How samples are written.
///
/// ```
/// use tallies::encode::{Format, Syntax};
///
/// assert_eq!(Format::TEXT.syntax(), Syntax::Text);
/// assert_eq!(Format::negotiate("text/plain;version=1.0.0").syntax(), Syntax::Text1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Syntax {
    /// The Prometheus text format 0.0.4, which every scraper reads.
    Text,
    /// The Prometheus text format 1.0.0, which is 0.0.4 with quoted names.
    Text1,
    /// OpenMetrics text 1.0.0.
    OpenMetrics,
    /// OpenMetrics text 2.0.0 (release candidate 0), which has exponential buckets. Only a client
    /// that names this version gets it.
    OpenMetrics2,
    /// `io.prometheus.client.MetricFamily` messages, each after its length.
    Protobuf,
}

/// A format for a client: how samples and names are written.
///
/// ```
/// use tallies::encode::{Format, Syntax};
///
/// let format = Format::negotiate("text/plain;version=0.0.4;q=0.5,*/*;q=0.1");
/// assert_eq!(format.syntax(), Syntax::Text);
/// assert_eq!(format.content_type(), "text/plain; version=0.0.4; charset=utf-8");
/// assert_eq!(Format::negotiate("nonsense"), Format::TEXT);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    syntax: Syntax,
    /// The escaping scheme that the client asked for, if any. The Content-Type then names it.
    escaping: Option<Escaping>,
}

impl Format {
    /// The text format 0.0.4, the default for a client that asks for nothing else.
    ///
    /// ```
    /// use tallies::encode::Format;
    ///
    /// assert_eq!(Format::negotiate("*/*"), Format::TEXT);
    /// ```
    pub const TEXT: Self = Self::plain(Syntax::Text);

    /// OpenMetrics text 1.0.0.
    ///
    /// ```
    /// use tallies::encode::{Format, Options};
    ///
    /// let mut page = Vec::new();
    /// Options::new().write(&tallies::snapshot(), Format::OPEN_METRICS, &mut page);
    /// assert!(page.ends_with(b"# EOF\n"));
    /// ```
    pub const OPEN_METRICS: Self = Self::plain(Syntax::OpenMetrics);

    /// OpenMetrics text 2.0.0.
    ///
    /// ```
    /// use tallies::encode::{Format, Options};
    ///
    /// let registry = tallies::Registry::new();
    /// registry.histogram("wait_seconds", "")?.observe(0.3);
    /// let mut page = Vec::new();
    /// Options::new().write(&registry.snapshot(), Format::OPEN_METRICS_2, &mut page);
    /// let page = String::from_utf8(page).unwrap();
    /// assert!(page.contains("\nwait_seconds {count:1,sum:0.3,bucket:[0.005:0,"), "{page}");
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// A series is one line, exponential buckets, start time and exemplars included. Names are as
    /// they are declared. What the format forbids is written in another way: an info whose name
    /// does not end in `_info` as a gauge, and a summary of negative values as an unknown type.
    /// Left out are exemplars without a time, and summaries without a count, from pages.
    ///
    /// Source: the OpenMetrics specification, version 2.0.0-rc0.
    pub const OPEN_METRICS_2: Self = Self::plain(Syntax::OpenMetrics2);

    /// Delimited `io.prometheus.client.MetricFamily` messages.
    ///
    /// ```
    /// use tallies::encode::{Format, Options};
    ///
    /// let mut page = Vec::new();
    /// Options::new().write(&tallies::snapshot(), Format::PROTOBUF, &mut page);
    /// assert!(!page.is_empty());
    /// ```
    pub const PROTOBUF: Self = Self::plain(Syntax::Protobuf);

    const fn plain(syntax: Syntax) -> Self {
        let escaping = None;
        Self { syntax, escaping }
    }

    /// Returns the format with this escaping of names outside the old character set, as a client
    /// asks for it with `escaping=`. Text with quoted names is version 1.0.0.
    ///
    /// ```
    /// use tallies::encode::{Escaping, Format, Options};
    ///
    /// let registry = tallies::Registry::new();
    /// tallies::Gauge::builder("jobs.open", "").utf8().register(&registry)?.set(2.0);
    /// let mut page = Vec::new();
    /// let format = Format::TEXT.escaped(Escaping::Dots);
    /// Options::new().write(&registry.snapshot(), format, &mut page);
    /// assert!(page.ends_with(b"jobs_dot_open 2\n"));
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub const fn escaped(self, escaping: Escaping) -> Self {
        let syntax = match (self.syntax, escaping) {
            (Syntax::Text, Escaping::AllowUtf8) => Syntax::Text1,
            (syntax, _) => syntax,
        };
        let escaping = Some(escaping);
        Self { syntax, escaping }
    }

    /// Returns the format that an Accept header prefers among those that this crate writes.
    ///
    /// ```
    /// use tallies::encode::{Format, Syntax};
    ///
    /// let accept = "application/openmetrics-text;q=0.9,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    /// assert_eq!(Format::negotiate(accept).syntax(), Syntax::OpenMetrics);
    /// ```
    ///
    /// Returns [`TEXT`](Self::TEXT) if the header is malformed or names none of them. Join several
    /// headers with commas.
    #[must_use]
    pub fn negotiate(accept: &str) -> Self {
        Self::among(accept, |_| true)
    }

    /// Returns the format that an Accept header prefers, as [`negotiate`](Self::negotiate) does,
    /// among all but OpenMetrics.
    #[cfg(feature = "page")]
    pub(crate) fn negotiate_without_open_metrics(accept: &str) -> Self {
        Self::among(accept, |syntax| {
            !matches!(syntax, Syntax::OpenMetrics | Syntax::OpenMetrics2)
        })
    }

    fn among(accept: &str, is_offered: impl Fn(Syntax) -> bool) -> Self {
        let mut best = (0, Self::TEXT);
        let mut escaping = None;
        for range in ranges(accept).map(Range::by_media_type) {
            let Some(format) = Self::from_range(&range) else {
                continue;
            };
            escaping = escaping.or(format.escaping.filter(|_| range.q() > 0));
            if is_offered(format.syntax) && range.q() > best.0 {
                best = (range.q(), format);
            }
        }
        if best.1.syntax == Syntax::Protobuf {
            best.1.escaping = best.1.escaping.or(escaping);
        }
        best.1
    }

    /// Returns the format that a range names, or `None` if it names none of this crate.
    fn from_range(range: &Range<'_>) -> Option<Self> {
        let syntax = if range.is("application/vnd.google.protobuf") {
            let ours = range.parameter("proto") == Some("io.prometheus.client.MetricFamily")
                && range.parameter("encoding") == Some("delimited");
            ours.then_some(Syntax::Protobuf)?
        } else {
            let version = range.parameter("version");
            let mut known = VERSIONS.iter().filter(|(name, ..)| range.is(name));
            let (.., syntax) =
                known.find(|(_, ours, _)| version.is_none_or(|version| version == *ours))?;
            *syntax
        };
        let escaping = match range.parameter("escaping") {
            Some("underscores") => Some(Escaping::Underscores),
            Some("dots") => Some(Escaping::Dots),
            Some("values") => Some(Escaping::Values),
            // Text 0.0.4 has no quoted names, so it ignores this scheme; text 1.0.0 was introduced
            // for it. The documentation of Prometheus spells the scheme without the second hyphen,
            // its code with it.
            Some("allow-utf-8" | "allow-utf8") if syntax != Syntax::Text => {
                Some(Escaping::AllowUtf8)
            }
            _ => None,
        };
        Some(Self { syntax, escaping })
    }

    /// Returns how samples are written.
    ///
    /// ```
    /// use tallies::encode::{Format, Syntax};
    ///
    /// let format = Format::negotiate("application/openmetrics-text;version=1.0.0");
    /// assert_eq!(format.syntax(), Syntax::OpenMetrics);
    /// ```
    #[must_use]
    #[inline]
    pub fn syntax(self) -> Syntax {
        self.syntax
    }

    /// Returns how names outside the old character set are written.
    ///
    /// ```
    /// use tallies::encode::{Escaping, Format};
    ///
    /// let format = Format::negotiate("text/plain;version=1.0.0;escaping=allow-utf-8");
    /// assert_eq!(format.escaping(), Escaping::AllowUtf8);
    /// assert_eq!(Format::TEXT.escaping(), Escaping::Underscores);
    /// ```
    #[must_use]
    #[inline]
    pub fn escaping(self) -> Escaping {
        self.escaping.unwrap_or_default()
    }

    /// Returns the exact Content-Type.
    ///
    /// ```
    /// use tallies::encode::Format;
    ///
    /// let dots = Format::negotiate("text/plain;escaping=dots").content_type();
    /// assert_eq!(dots, "text/plain; version=0.0.4; charset=utf-8; escaping=dots");
    /// ```
    ///
    /// It names the escaping scheme if the client named one, and always in text 1.0.0.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        macro_rules! escaped {
            ($bare:literal, $unasked:expr) => {
                match self.escaping {
                    None => $unasked,
                    Some(Escaping::Underscores) => concat!($bare, "; escaping=underscores"),
                    Some(Escaping::Dots) => concat!($bare, "; escaping=dots"),
                    Some(Escaping::Values) => concat!($bare, "; escaping=values"),
                    Some(Escaping::AllowUtf8) => concat!($bare, "; escaping=allow-utf-8"),
                }
            };
            ($bare:literal) => {
                escaped!($bare, $bare)
            };
        }
        match self.syntax {
            Syntax::Text => escaped!("text/plain; version=0.0.4; charset=utf-8"),
            Syntax::Text1 => escaped!(
                "text/plain; version=1.0.0; charset=utf-8",
                "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"
            ),
            Syntax::OpenMetrics => {
                escaped!("application/openmetrics-text; version=1.0.0; charset=utf-8")
            }
            Syntax::OpenMetrics2 => {
                escaped!("application/openmetrics-text; version=2.0.0; charset=utf-8")
            }
            Syntax::Protobuf => escaped!(
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            ),
        }
    }
}

/// The versions of text formats. The first one of a media type is its default.
const VERSIONS: [(&str, &str, Syntax); 4] = [
    ("text/plain", "0.0.4", Syntax::Text),
    ("text/plain", "1.0.0", Syntax::Text1),
    ("application/openmetrics-text", "1.0.0", Syntax::OpenMetrics),
    (
        "application/openmetrics-text",
        "2.0.0",
        Syntax::OpenMetrics2,
    ),
];

/// An element of a header such as Accept.
pub(crate) struct Range<'a> {
    /// The name of the element.
    name: &'a str,
    /// The whole element: the name and its parameters, separated by semicolons.
    parts: &'a str,
}

impl<'a> Range<'a> {
    /// Takes the first part that is a media type as the name, wherever it is in the element.
    fn by_media_type(self) -> Self {
        let name = split(self.parts, ';').find(|part| part.contains('/') && !part.contains('='));
        Self {
            name: name.map_or(self.name, str::trim),
            ..self
        }
    }

    /// Returns whether the element has this name, ignoring case.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Returns the value of the first parameter with this name, without quotes.
    fn parameter(&self, name: &str) -> Option<&'a str> {
        split(self.parts, ';').find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            let value = value.trim();
            let open = value.strip_prefix('"');
            let quoted = open.and_then(|text| text.strip_suffix('"'));
            let is_it = key.trim().eq_ignore_ascii_case(name);
            is_it.then_some(quoted.unwrap_or(value))
        })
    }

    /// Returns the q-value in thousandths, from 0 to 1000. It has at most three decimals; more are
    /// ignored. Returns 1000 if it is missing or not a number.
    pub(crate) fn q(&self) -> i32 {
        let q = self.parameter("q").unwrap_or("1");
        let (whole, decimals) = q.split_once('.').unwrap_or((q, ""));
        let thousandths = format!("{whole}{decimals:0<3.3}").parse::<i32>();
        thousandths.map_or(1000, |q| q.clamp(0, 1000))
    }
}

/// Splits a header such as Accept into its elements.
pub(crate) fn ranges(header: &str) -> impl Iterator<Item = Range<'_>> {
    split(header, ',').map(|parts| Range {
        name: split(parts, ';').next().unwrap_or_default().trim(),
        parts,
    })
}

/// Splits `text` at separators outside quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let within = quoted;
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        c == separator && !within
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: &[Syntax] = &[
        Syntax::Text,
        Syntax::Text1,
        Syntax::OpenMetrics,
        Syntax::OpenMetrics2,
        Syntax::Protobuf,
    ];
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    const TEXT_1: &str = "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    const OPENMETRICS_UTF8: &str =
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
    const PROTOBUF: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    const PROTOBUF_UTF8: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=allow-utf-8";

    fn chosen(offered: &[Syntax], accept: &str) -> &'static str {
        Format::among(accept, |syntax| offered.contains(&syntax)).content_type()
    }

    /// Accept headers of real scrapers, and the Content-Type each gets if every format is offered.
    const SCRAPERS: &[(&str, &str, &str)] = &[
        ("none", "", TEXT),
        ("curl", "*/*", TEXT),
        (
            "Firefox",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            TEXT,
        ),
        (
            "Chromium",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
            TEXT,
        ),
        (
            "Prometheus 1.x, and old readers of protobuf",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            PROTOBUF,
        ),
        (
            "Prometheus 2.0, VictoriaMetrics",
            "text/plain;version=0.0.4;q=1,*/*;q=0.1",
            TEXT,
        ),
        (
            "Prometheus 2.5 to 2.35: it asks for a version of OpenMetrics that nobody should write",
            "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            TEXT,
        ),
        (
            "Prometheus 2.42",
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OPENMETRICS,
        ),
        (
            "Prometheus 2.42 with native histograms",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            PROTOBUF,
        ),
        (
            "Prometheus 2.49: its wildcard's q is above the rest",
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=2",
            OPENMETRICS,
        ),
        (
            "Prometheus 3.0: it says `escaping` twice",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;escaping=allow-utf-8;q=0.3,*/*;q=0.2",
            OPENMETRICS_UTF8,
        ),
        (
            "Prometheus 3.0, protobuf first",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;escaping=allow-utf-8;q=0.7,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.2",
            PROTOBUF_UTF8,
        ),
        (
            "Prometheus 3.9",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            OPENMETRICS_UTF8,
        ),
        (
            "Prometheus 3.5 and 3.9, protobuf first: other ranges name its escaping",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.2",
            PROTOBUF_UTF8,
        ),
        (
            "Prometheus 3.9 with text 1.0.0 first",
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.2",
            TEXT_1,
        ),
        (
            "Metricbeat",
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            TEXT,
        ),
    ];

    #[test]
    fn every_scraper_gets_what_it_likes_best() {
        for (who, accept, content_type) in SCRAPERS {
            assert_eq!(chosen(ALL, accept), *content_type, "{who}: {accept}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_not_chosen() {
        for (who, accept, content_type) in SCRAPERS {
            assert_eq!(chosen(&[], accept), TEXT, "{who}");
            assert_eq!(chosen(&[Syntax::Text], accept), TEXT, "{who}");
            let without: Vec<_> = ALL
                .iter()
                .filter(|s| **s != Syntax::Protobuf)
                .copied()
                .collect();
            if *content_type == PROTOBUF_UTF8 {
                assert_eq!(chosen(&without, accept), OPENMETRICS_UTF8, "{who}");
            }
            assert!(ALL.contains(&Format::negotiate(accept).syntax()));
        }
    }

    #[test]
    fn q_values_and_spelling() {
        let open = "application/openmetrics-text";
        for (accept, content_type) in [
            (
                "text/plain;q=0.5,application/openmetrics-text;q=0.6",
                OPENMETRICS,
            ),
            ("text/plain;q=0.6,application/openmetrics-text;q=0.5", TEXT),
            ("application/openmetrics-text,text/plain", OPENMETRICS),
            ("text/plain,application/openmetrics-text", TEXT),
            ("application/openmetrics-text;q=0,*/*", TEXT),
            (
                "APPLICATION/OpenMetrics-Text ; VERSION = 1.0.0 ; Q = 0.9",
                OPENMETRICS,
            ),
            (
                "application/openmetrics-text;version=\"1.0.0\";x=\"a,b;c\\\"\"",
                OPENMETRICS,
            ),
            ("application/openmetrics-text;version=99.0,*/*;q=0.1", TEXT),
            ("application/openmetrics-text;q=nonsense", OPENMETRICS),
            ("application/openmetrics-text;q=nan", OPENMETRICS),
            ("application/openmetrics-text;q=-1", TEXT),
            (
                "text/plain;q=0.001,application/openmetrics-text;q=0.002;;;",
                OPENMETRICS,
            ),
            (",,;;=,application/openmetrics-text,\"", OPENMETRICS),
            ("application/vnd.google.protobuf", TEXT),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
                TEXT,
            ),
            (
                "encoding=delimited;proto=io.prometheus.client.MetricFamily",
                TEXT,
            ),
            (
                "application/vnd.google.protobuf; encoding=delimited; proto=io.prometheus.client.MetricFamily",
                PROTOBUF,
            ),
            // Parameters in any order, as aioprometheus reads them.
            (
                "proto=io.prometheus.client.MetricFamily;application/vnd.google.protobuf;encoding=delimited",
                PROTOBUF,
            ),
            (
                "encoding=delimited;proto=io.prometheus.client.MetricFamily; Application/vnd.google.protobuf ",
                PROTOBUF,
            ),
            (
                "q=0.5;application/openmetrics-text,text/plain;q=0.4",
                OPENMETRICS,
            ),
            ("q=0.3;application/openmetrics-text,text/plain;q=0.4", TEXT),
            (";;application/openmetrics-text", OPENMETRICS),
            ("x=\"a/b;c\";application/openmetrics-text", OPENMETRICS),
            // The first media type counts.
            ("text/html;application/openmetrics-text", TEXT),
            ("*/*;application/openmetrics-text", TEXT),
            ("text/*", TEXT),
            ("application/json", TEXT),
        ] {
            assert_eq!(chosen(ALL, accept), content_type, "{accept}");
        }
        assert_eq!(chosen(ALL, &open.repeat(1000)), TEXT);
    }

    #[test]
    fn the_answer_names_the_scheme_that_was_asked_for() {
        for (accept, content_type) in [
            ("text/plain;version=0.0.4;escaping=allow-utf-8", TEXT),
            (
                "text/plain;escaping=dots",
                "text/plain; version=0.0.4; charset=utf-8; escaping=dots",
            ),
            (
                "text/plain;version=1.0.0",
                "text/plain; version=1.0.0; charset=utf-8; escaping=underscores",
            ),
            (
                "text/plain;escaping=underscores",
                "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            ),
            ("text/plain;version=1.0.0;escaping=allow-utf8", TEXT_1),
            (
                "application/openmetrics-text;escaping=nonsense",
                OPENMETRICS,
            ),
            (
                "application/openmetrics-text;escaping=values",
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=values",
            ),
        ] {
            assert_eq!(chosen(ALL, accept), content_type, "{accept}");
        }
        assert_eq!(Format::TEXT.escaping(), Escaping::Underscores);
        let dots = Format::negotiate("text/plain;escaping=dots");
        assert_eq!(dots.escaping(), Escaping::Dots);
    }

    /// Each value hides or reveals a second range, which would win.
    #[test]
    fn quotes_hide_separators_and_a_backslash_hides_a_quote() {
        for (value, content_type) in [
            (r#""""#, OPENMETRICS),
            (r#""a""#, OPENMETRICS),
            (r#""ab""#, OPENMETRICS),
            (r#""\"""#, OPENMETRICS),
            (r#""\\""#, OPENMETRICS),
            (r#"",""#, OPENMETRICS),
            (r#"""#, TEXT),
            (r#""\""#, TEXT),
            (r#""\\\""#, TEXT),
            // A backslash outside quotes hides nothing.
            (r#"\""#, TEXT),
        ] {
            for blank in ["", " "] {
                let accept =
                    format!("text/plain;q=0.5;x={blank}{value},application/openmetrics-text");
                assert_eq!(chosen(ALL, &accept), content_type, "{accept}");
            }
        }
    }

    proptest! {
        #[test]
        fn anything_at_all_gets_an_answer(accept in "[ -~]{0,60}|.{0,30}") {
            let format = Format::negotiate(&accept);
            prop_assert!(format == Format::TEXT || accept.contains('/'));
        }

        /// The order of a range's parts does not matter.
        #[test]
        fn parts_in_any_order(parts in Just(vec![
            "application/vnd.google.protobuf",
            "proto=io.prometheus.client.MetricFamily",
            "encoding=delimited",
            "escaping=allow-utf-8",
            "q=0.2",
        ]).prop_shuffle()) {
            let better = format!("{},text/plain;q=0.1", parts.join(";"));
            prop_assert_eq!(chosen(ALL, &better), PROTOBUF_UTF8);
            let worse = format!("{},text/plain;q=0.3", parts.join(" ; "));
            prop_assert_eq!(chosen(ALL, &worse), TEXT);
        }

        /// The order of ranges with different q-values does not matter.
        #[test]
        fn the_highest_q_wins(mut order in Just(vec![0, 1, 2, 3, 4]).prop_shuffle(), top in 0..5_usize) {
            let names = [
                "text/plain",
                "text/plain;version=1.0.0",
                "application/openmetrics-text",
                "application/openmetrics-text;version=2.0.0",
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
            ];
            order.push(top);
            let ranges: Vec<_> = order
                .iter()
                .map(|i| format!("{};q=0.{}", names[*i], if *i == top { 9 } else { *i + 1 }))
                .collect();
            prop_assert_eq!(Format::negotiate(&ranges.join(",")).syntax(), ALL[top]);
        }
    }
}
