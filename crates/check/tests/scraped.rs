//! Tests of the lenient reader: what it says to pages that are not as their format has them.

#[path = "../../../tests/support/scraped.rs"]
mod pages;

use proptest::prelude::*;
use tallies::encode::{self, Escaping, Format, Options};
use tallies::snapshot::Snapshot;
use tallies_check::{
    Remark, Scraped, read_as_scraped, read_open_metrics, read_open_metrics_2, read_text,
};

use pages::{PAGES, Page, Verdict};

/// Writes a remark as the table of pages does: the whole text.
fn shown(remark: &Remark) -> String {
    let (line, column) = remark.position().unwrap_or_default();
    let refused = if remark.is_refused() { "!" } else { "" };
    format!("{line}:{column}{refused} {}", remark.text())
}

/// Reads with the strict reader of the page's format.
fn strict(page: &Page) -> Result<Snapshot, tallies::Error> {
    match page.content_type.contains("openmetrics") {
        true => read_open_metrics(page.body),
        false => read_text(page.body),
    }
}

#[test]
fn a_page_that_prometheus_takes_is_read_with_remarks_and_one_that_it_refuses_is_named() {
    let mut wrong = Vec::new();
    for page in PAGES {
        let found = match read_as_scraped(page.body, Some(page.content_type)) {
            Ok(read) => {
                let refused = page.prometheus == Verdict::Refused
                    || matches!(page.prometheus, Verdict::TakenBy2(_));
                if read.refused().is_some() != refused {
                    wrong.push(format!("{:?}: {:?}", page.name, page.prometheus));
                }
                read.remarks().iter().map(shown).collect()
            }
            Err(error) => vec![error.to_string()],
        };
        let is_as_expected = found.len() == page.remarks.len()
            && found
                .iter()
                .zip(page.remarks)
                .all(|(found, words)| found.starts_with(words))
            && strict(page).is_ok() == page.strict;
        if !is_as_expected {
            let strict = strict(page).is_ok();
            wrong.push(format!("{:?}: strict {strict}, {found:?}", page.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the snapshot, in each format that can be read again.
fn written(snapshot: &Snapshot) -> [String; 2] {
    [Format::TEXT, Format::OPEN_METRICS_2].map(|format| {
        let mut page = Vec::new();
        let options = Options::new().created(true);
        options.write(snapshot, format.escaped(Escaping::AllowUtf8), &mut page);
        String::from_utf8(page).unwrap()
    })
}

/// Asserts that the strict reader is the lenient one without a remark, and that everything that the
/// lenient one reads can be written.
fn agree(page: &[u8], strict: Result<Snapshot, tallies::Error>, read: &Scraped) {
    let warned = |remark: &&Remark| {
        let warnings = [
            "a blank before a name",
            "Prometheus takes further blanks",
            "is before 1970",
        ];
        warnings.iter().any(|words| remark.text().contains(words))
    };
    let page = String::from_utf8_lossy(page);
    let odd = read.remarks().iter().find(|remark| !warned(remark));
    match strict {
        Ok(strict) => {
            assert_eq!(odd, None, "{page}");
            assert_eq!(written(&strict), written(read.snapshot()), "{page}");
            assert_eq!(strict.taken(), read.snapshot().taken(), "{page}");
        }
        Err(error) => {
            assert!(odd.is_some(), "{error}: {page}");
            written(read.snapshot());
            let _ = encode::protobuf(read.snapshot());
        }
    }
}

type Strict = fn(&[u8]) -> Result<Snapshot, tallies::Error>;

const FORMATS: [(&str, Strict); 3] = [
    ("text/plain", |page| read_text(page)),
    ("application/openmetrics-text; version=1.0.0", |page| {
        read_open_metrics(page)
    }),
    ("application/openmetrics-text; version=2.0.0", |page| {
        read_open_metrics_2(page)
    }),
];

proptest! {
    /// A strict reader returns an error exactly where the lenient one has a remark, and otherwise
    /// the same snapshot: on pages of the table that are cut, joined and edited.
    #[test]
    fn a_strict_reader_is_a_lenient_one_without_remarks(
        pages in prop::collection::vec(0..PAGES.len(), 1..4),
        at in any::<prop::sample::Index>(),
        with in "[\" {}\\\\,=#\n\t\r0-9eE.+-]{0,3}",
        cut in any::<bool>(),
    ) {
        let mut page: Vec<u8> = pages.iter().flat_map(|i| PAGES[*i].body).copied().collect();
        let at = at.index(page.len() + 1);
        let end = if cut { page.len() } else { at };
        page.splice(at..end, with.bytes());
        for (content_type, strict) in FORMATS {
            match read_as_scraped(&page, Some(content_type)) {
                Ok(read) => agree(&page, strict(&page), &read),
                Err(error) => prop_assert!(error.to_string().contains("this is HTML")),
            }
        }
    }

    /// Lines of a page in any order say the same, as long as each HELP and TYPE is in it.
    #[test]
    fn the_order_of_lines_does_not_matter(order in Just((0..LINES.len()).collect::<Vec<_>>()).prop_shuffle()) {
        let lines: Vec<_> = order.iter().map(|i| LINES[*i]).collect();
        let read = read_as_scraped(lines.join("\n") + "\n", Some("text/plain")).unwrap();
        let ordered = read_text(LINES.join("\n") + "\n").unwrap();
        prop_assert!(read.refused().is_none());
        for family in ordered.families() {
            let same = read.snapshot().family(family.name()).unwrap();
            prop_assert_eq!((same.kind(), same.help()), (family.kind(), family.help()));
            prop_assert_eq!(same.len(), family.len());
        }
        for (name, labels, value) in VALUES {
            prop_assert_eq!(read.snapshot().get(name, labels), Some(*value), "{}", name);
        }
    }
}

const LINES: &[&str] = &[
    "# HELP a_seconds Time.",
    "# TYPE a_seconds histogram",
    "a_seconds_bucket{x=\"1\",le=\"1\"} 1",
    "a_seconds_bucket{x=\"1\",le=\"+Inf\"} 3",
    "a_seconds_sum{x=\"1\"} 5",
    "a_seconds_count{x=\"1\"} 3",
    "a_seconds_bucket{x=\"2\",le=\"1\"} 4",
    "a_seconds_bucket{x=\"2\",le=\"+Inf\"} 4",
    "a_seconds_sum{x=\"2\"} 2",
    "a_seconds_count{x=\"2\"} 4",
    "# TYPE b_total counter",
    "b_total{x=\"1\"} 7",
    "b_total{x=\"2\"} 8",
    "c 9",
];

type Labels = &'static [(&'static str, &'static str)];

const VALUES: &[(&str, Labels, f64)] = &[
    ("a_seconds_bucket", &[("x", "1"), ("le", "1.0")], 1.0),
    ("a_seconds_count", &[("x", "1")], 3.0),
    ("a_seconds_sum", &[("x", "2")], 2.0),
    ("b_total", &[("x", "2")], 8.0),
    ("c", &[], 9.0),
];

/// Hostile pages: the time and the number of remarks stay small.
#[test]
fn a_page_of_mistakes_has_a_bounded_list_of_remarks() {
    let many = |line: &dyn Fn(usize) -> String| (0..20_000).map(line).collect::<String>();
    let buckets = many(&|i| format!("a_bucket{{le=\"{}\"}} 1\n", 20_000 - i));
    for (page, listed) in [
        (many(&|i| format!("a{i} x{i}\n")), 1000),
        (many(&|i| format!("a{{x=\"{i}\n")), 1),
        (many(&|_| "a 1\nb 1\n".to_owned()), 4),
        (
            many(&|i| format!("# TYPE a counter\na{{x=\"{i}\"}} 1\n")),
            1,
        ),
        (format!("# TYPE a histogram\n{buckets}"), 1000),
        (format!("# HELP a {}\n", "\\d".repeat(20_000)), 1),
        (format!("a{{{}}} 1\n", "b=\"1\" ".repeat(20_000)), 2),
    ] {
        let read = read_as_scraped(&page, Some("text/plain")).unwrap();
        let shown: Vec<_> = read.remarks().iter().take(3).map(shown).collect();
        assert!(
            read.remarks().len() <= listed,
            "{}: {shown:?}",
            read.remarks().len()
        );
        let times = read.remarks().iter().map(Remark::times).sum::<u64>();
        assert!(times + read.unlisted() >= 1, "{shown:?}");
    }
}

/// One remark for a mistake that each series has, so that others are seen.
#[test]
fn a_mistake_that_is_made_again_is_one_remark() {
    let page = "# TYPE a gauge\na{x=\"1\"} 1\n# TYPE a gauge\na{x=\"2\"} 1\n# TYPE a gauge\n";
    let read = read_as_scraped(page, None).unwrap();
    let [remark] = read.remarks() else {
        panic!("{:?}", read.remarks())
    };
    assert_eq!((remark.times(), remark.position()), (2, Some((3, 10))));
}

#[test]
fn what_is_left_of_a_broken_page_is_what_its_other_lines_say() {
    let page = "# TYPE h histogram\n\
        h_bucket{x=\"1\",le=\"4\"} 3\nh_bucket{x=\"1\",le=\"2\"} 2\nh_bucket{x=\"1\",le=\"1\"} 1.4\n\
        h_count{x=\"1\"} 5\nh_bucket{x=\"2\",le=\"2\"} 7\nh_bucket{x=\"2\",le=\"Inf\"} 7\n\
        # TYPE s summary\ns{quantile=\"90\"} 9\ns{quantile=\"50\"} 5\n\
        d 1 1000\nd 2 3000\nd 3 2000\n\
        m{x=\"a\nb\"} 4\nbroken\nlast 5";
    let read = read_as_scraped(page, Some("text/plain"))
        .unwrap()
        .into_snapshot();
    let get = |name: &str, labels: &[(&str, &str)]| read.get(name, labels);
    // Only the bound 2 is in both.
    assert_eq!(get("h_bucket", &[("x", "1"), ("le", "2.0")]), Some(2.0));
    assert_eq!(get("h_bucket", &[("x", "1"), ("le", "+Inf")]), Some(5.0));
    assert_eq!(get("h_bucket", &[("x", "1"), ("le", "1.0")]), None);
    assert_eq!(get("h_count", &[("x", "2")]), Some(7.0));
    assert_eq!(get("s", &[("quantile", "50.0")]), Some(5.0));
    assert_eq!((get("d", &[]), get("last", &[])), (Some(2.0), Some(5.0)));
    assert_eq!(get("m", &[("x", "a\nb")]), Some(4.0));
}

/// A remark about a comment, which Prometheus does not read, hid the same fault of a sample.
#[test]
fn a_fault_that_prometheus_refuses_is_not_one_with_the_same_words_that_it_takes() {
    let page = b"# \xff comment\na{x=\"\xff\"} 1\nb 2\n";
    let read = tallies_check::read_as_scraped(page, Some("text/plain; version=0.0.4")).unwrap();
    assert!(read.refused().is_some(), "{:?}", read.remarks());
    assert_eq!(read.remarks().len(), 2, "{:?}", read.remarks());
}

/// The family that is empty stayed, and the one with a sample was left out.
#[test]
fn of_two_families_of_one_name_the_one_with_samples_stays() {
    let page = "# TYPE a counter\n# TYPE a_total gauge\na_total 5\n# EOF\n";
    let open_metrics = Some("application/openmetrics-text; version=1.0.0");
    let read = tallies_check::read_as_scraped(page, open_metrics).unwrap();
    assert_eq!(read.snapshot().get("a_total", &[]), Some(5.0));
}
