//! Tests of the reader: valid pages, broken pages and round trips.

mod open_metrics_2;
mod refused;

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use tallies::snapshot::{Family, Histogram, Kind, Number, Snapshot, Summary, Value};
use tallies::{Error, encode};
use tallies_check::{read, read_open_metrics, read_open_metrics_2, read_text};

/// Returns the value of the first series.
fn value(family: &Family) -> Value<'_> {
    family.series().next().unwrap().1
}

fn text(page: &str) -> Snapshot {
    read_text(page).unwrap_or_else(|e| panic!("{e}\n{page}"))
}

fn open_metrics(page: &str) -> Snapshot {
    read_open_metrics(page).unwrap_or_else(|e| panic!("{e}\n{page}"))
}

#[test]
fn the_last_line_decides() {
    for page in ["a 1\n# EOF\n", "a 1\n# EOF", "# EOF"] {
        open_metrics(page);
        assert!(read(page).is_ok());
    }
    // With a blank at its end, `# EOF` is a comment of text. OpenMetrics rejects two blanks, and
    // text rejects exemplars.
    assert!(read("a  1\n# EOF \n").is_ok());
    assert!(read("a  1\n# EOF\n").is_err());
    assert!(read("# TYPE a counter\na_total 1 # {} 1\n").is_err());
    assert_eq!(text("").families().count(), 0);
}

#[test]
fn text_lets_blanks_stand() {
    let page = "\n# a comment\n#\n  #  HELP\ta  x \\\\ \\n \" \n\t# TYPE  a\tgauge \n\
        a\t{ b = \"c\" , d=\"e\\\"\\n\\\\\" , }1 1500\t\n \n# UNIT a_x x\n";
    let read = text(page);
    let a = read.family("a").unwrap();
    assert_eq!((a.kind(), a.help()), (Kind::Gauge, " x \\ \n \" "));
    assert_eq!(a.label_text(0), r#"b="c",d="e\"\n\\""#);
    assert_eq!(value(a), Value::Gauge(1.0));
    assert_eq!(read.taken(), UNIX_EPOCH + Duration::from_millis(1500));
    assert_eq!(read.families().count(), 1);
}

#[test]
fn every_kind_of_text() {
    let read = text(
        "u 1e3\n\
        # HELP c_total Help.\n# TYPE c_total counter\nc_total{a=\"b\"} 18446744073709551615\nc_total 1\n\
        # TYPE h histogram\n\
        h_bucket{le=\"1\",a=\"b\"} 1\nh_bucket{a=\"b\",le=\"1e+06\"} 2\nh_bucket{a=\"b\",le=\"+Inf\"} 1e+01\n\
        h_count{a=\"b\"} 10\nh_sum{a=\"b\"} -0.5\n\
        # TYPE s summary\ns{quantile=\"0.5\"} NaN\ns{quantile=\"0.9\"} 2\ns_sum 3\ns_count 4\n\
        # TYPE empty gauge\n\
        {\"http.requests\",\"http.method\"=\"GET\"} 5\n",
    );
    let names: Vec<_> = read.families().map(|f| (f.name(), f.kind())).collect();
    assert_eq!(
        names,
        [
            ("c_total", Kind::Counter),
            ("empty", Kind::Gauge),
            ("h", Kind::Histogram),
            ("http.requests", Kind::Unknown),
            ("s", Kind::Summary),
            ("u", Kind::Unknown),
        ]
    );
    assert_eq!(
        value(read.family("c_total").unwrap()),
        Value::Counter(Number::Int(u64::MAX))
    );
    assert_eq!(read.get("u", &[]), Some(1000.0));
    assert_eq!(
        read.get("http.requests", &[("http.method", "GET")]),
        Some(5.0)
    );
    let labels = [("a", "b")];
    for (le, count) in [("1.0", 1.0), ("1000000", 2.0), ("+Inf", 10.0)] {
        assert_eq!(read.get("h_bucket", &[("a", "b"), ("le", le)]), Some(count));
    }
    assert_eq!(read.get("h_sum", &labels), Some(-0.5));
    let Value::Summary(s) = value(read.family("s").unwrap()) else {
        panic!("a summary")
    };
    let quantiles: Vec<_> = s.exported().collect();
    assert!(quantiles[0].1.is_nan() && quantiles[1] == (0.9, 2.0));
    assert_eq!((s.count(), s.sum()), (4, 3.0));
    let error = s.quantile(0.9).unwrap_err().to_string();
    assert!(error.contains("`exported`"), "{error}");
    assert_eq!(read.taken(), UNIX_EPOCH);
}

#[test]
fn every_kind_of_open_metrics() {
    let read = open_metrics(
        "# TYPE c_seconds counter\n# UNIT c_seconds seconds\n# HELP c_seconds a \\\"b\\\"\n\
        c_seconds_total 1.5 2.5 # {a=\"b\"} 0.5 1.5\nc_seconds_created 1.25 2.5\n\
        # TYPE g gauge\ng -inf\n# TYPE x unknown\nx 1\n# TYPE i info\ni_info{v=\"1\"} 1\n\
        # TYPE p stateset\np{p=\"on\"} 1\np{p=\"off\"} 0\n\
        # TYPE h histogram\nh_bucket{le=\"1.0\"} 1 # {} 0.5\nh_bucket{le=\"+Inf\"} 3 # {t=\"x\"} 7\nh_sum 4\nh_count 3\n\
        # TYPE gh gaugehistogram\ngh_bucket{le=\"-1.0\"} 1\ngh_bucket{le=\"+Inf\"} 3\ngh_gsum -4\ngh_gcount 3\n\
        # TYPE s summary\ns{quantile=\"0.5\"} 2\n# EOF\n",
    );
    let kinds: Vec<_> = read.families().map(|f| (f.name(), f.kind())).collect();
    assert_eq!(
        kinds,
        [
            ("c_seconds_total", Kind::Counter),
            ("g", Kind::Gauge),
            ("gh", Kind::GaugeHistogram),
            ("h", Kind::Histogram),
            ("i_info", Kind::Info),
            ("p", Kind::StateSet),
            ("s", Kind::Summary),
            ("x", Kind::Unknown),
        ]
    );
    let c = read.family("c_seconds_total").unwrap();
    assert_eq!((c.unit(), c.help()), ("seconds", "a \"b\""));
    let (bucket, exemplar) = c.exemplars(0).next().unwrap();
    assert_eq!((bucket, exemplar.value()), (0, 0.5));
    assert_eq!(
        exemplar.time(),
        Some(UNIX_EPOCH + Duration::from_millis(1500))
    );
    assert!(exemplar.labels().eq([("a", "b".into())]));
    assert_eq!(c.created(0), Some(UNIX_EPOCH + Duration::from_millis(1250)));
    let h = read.family("h").unwrap();
    let exemplars: Vec<_> = h
        .exemplars(0)
        .map(|(bucket, e)| (bucket, e.value()))
        .collect();
    assert_eq!(exemplars, [(0, 0.5), (1, 7.0)]);
    assert_eq!(read.get("g", &[]), Some(f64::NEG_INFINITY));
    assert_eq!(read.get("gh_sum", &[]), Some(-4.0));
    assert_eq!(read.get("p", &[("p", "on")]), Some(1.0));
    let Value::Summary(s) = value(read.family("s").unwrap()) else {
        panic!("a summary")
    };
    assert_eq!((s.count(), s.sum().is_nan()), (0, true));
    assert!(!encode::open_metrics(&read).contains("s_count"));
    assert_eq!(read.taken(), UNIX_EPOCH + Duration::from_millis(2500));
}

/// A page of each format that uses most of its features.
const PAGES: [&str; 3] = [
    "# HELP c_total A \\\\ help.\n# TYPE c_total counter\nc_total{a=\"b\\n\\\"\",ä=\"\"} 3 1500\n\
        # TYPE h histogram\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 0.5\nh_count 2\n\
        # TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_sum 0\ns_count 0\n{\"a.b\",\"c.d\"=\"e\"} 1e+06\n",
    "# TYPE c_x counter\n# UNIT c_x x\nc_x_total 1.5 2 # {a=\"b\"} 0.5 1.5\nc_x_created 1.25 2\n\
        # TYPE p stateset\np{p=\"on\"} 1\n# TYPE h gaugehistogram\nh_bucket{le=\"+Inf\"} 3 # {} 7\n# EOF\n",
    "# TYPE h histogram\nh{a=\"b\"} {count:3,sum:1.5,schema:0,zero_threshold:0,zero_count:0,\
        negative_spans:[-1:1],negative_buckets:[1],positive_spans:[1:1,3:1],positive_buckets:[1,1],\
        bucket:[0.5:1,+Inf:3]} 2 st@1.5 # {} 0.5 1 # {c=\"d\"} 7 1\n\
        # TYPE s summary\ns {count:1,sum:2,quantile:[0.5:NaN]}\n# EOF\n",
];

proptest! {
    /// Random edits of a page never cause a panic, and an error names a line of the page.
    #[test]
    fn broken_pages(page in 0..3_usize, at in 0..350_usize, with in "\\PC{0,3}|[\" {}\\\\,=#\n\t0-9eE.+-]{0,4}", cut in any::<bool>()) {
        let page = PAGES[page];
        let at = (0..=page.len()).rev().find(|i| *i <= at && page.is_char_boundary(*i)).unwrap_or(0);
        let after = if cut { "" } else { &page[at..] };
        let broken = format!("{}{with}{after}", &page[..at]);
        let reads = [read_text(&broken), read_open_metrics(&broken), read_open_metrics_2(&broken)];
        for read in reads {
            if let Err(e) = read {
                let e = e.to_string();
                let line: usize = e["line ".len()..].split(',').next().unwrap().parse().unwrap();
                prop_assert!((1..=broken.split('\n').count()).contains(&line), "{e}");
            }
        }
    }

    /// The reader notices that a page is cut off.
    #[test]
    fn open_metrics_ends_in_eof(len in 0..350_usize) {
        for (page, read) in [(PAGES[1], read_open_metrics as fn(_) -> _), (PAGES[2], read_open_metrics_2)] {
            let page = page.trim_end();
            let cut = &page[..len.min(page.len() - 1)];
            prop_assert!(read(cut).is_err());
        }
    }

    /// A written page reads back, and writing what was read gives the same page.
    #[test]
    fn back_and_forth(
        counters in labelled(any::<u64>().prop_map(Number::Int)),
        gauges in labelled(any::<f64>()),
        quantiles in labelled((any::<Option<u64>>(), any::<f64>(), any::<f64>())),
        counts in labelled((any::<[u32; 3]>(), any::<f64>())),
        help in any::<String>(),
    ) {
        let family = |name, kind, values: Vec<(&String, Value<'_>)>| {
            let mut family = Family::empty(name, &help, "", kind).unwrap();
            for (label, value) in values {
                family.push(&[("x", label)], value).unwrap();
            }
            family
        };
        let counters = counters.iter().map(|(x, n)| (x, Value::Counter(*n)));
        let gauges = gauges.iter().map(|(x, value)| (x, Value::Gauge(*value)));
        let bounds = [0.25, 1e6];
        let counts: Vec<_> = counts.iter().map(|(x, (n, sum))| (x, n.map(u64::from), sum.abs())).collect();
        let histograms = counts.iter().map(|(x, n, sum)| {
            (*x, Value::Histogram(Histogram::new(&bounds, n, *sum).unwrap()))
        });
        let quantiles: Vec<_> = quantiles.iter().map(|(label, (count, sum, x))| {
            (label, *count, sum.abs(), [(0.0, x.abs()), (0.5, f64::NAN), (1.0, 0.0)])
        }).collect();
        let summaries = quantiles.iter().map(|(x, count, sum, quantiles)| {
            (*x, Value::Summary(Summary::new(*count, *sum, quantiles)))
        });
        let families = vec![
            family("c_total", Kind::Counter, counters.collect()),
            family("g", Kind::Gauge, gauges.collect()),
            family("h", Kind::Histogram, histograms.collect()),
            family("s", Kind::Summary, summaries.collect()),
        ];
        let snapshot = Snapshot::new(families, UNIX_EPOCH).unwrap();
        for (write, read) in [
            (encode::text as fn(&_) -> String, read_text as fn(_) -> _),
            (encode::open_metrics, read_open_metrics),
        ] {
            let page = write(&snapshot);
            let read: Snapshot = read(page.clone()).map_err(|e| TestCaseError::fail(format!("{e}\n{page}")))?;
            prop_assert_eq!(&page, &write(&read));
            for (own, read) in snapshot.families().zip(read.families()) {
                prop_assert_eq!(own.help(), read.help());
                // NaN is not equal to itself, so compare the `Debug` texts.
                prop_assert_eq!(format!("{:?}", own.series().collect::<Vec<_>>()), format!("{:?}", read.series().collect::<Vec<_>>()));
            }
        }
    }
}

fn labelled<T: std::fmt::Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = BTreeMap<String, T>> {
    proptest::collection::btree_map(any::<String>(), value, 0..4)
}

#[test]
fn what_is_read_merges_with_a_registry() {
    let registry = tallies::Registry::new();
    let jobs = tallies::Counter::builder("jobs_total", "Jobs.")
        .constant("zone", "a\"b")
        .labels(["kind"])
        .register(&registry)
        .unwrap();
    jobs.with(["x"]).add(3);
    registry.histogram("h", "").unwrap().observe(0.3);
    let version = tallies::Info::builder("v_info", "")
        .labels(["v"])
        .register(&registry);
    version.unwrap().set(["1"]);
    let own = registry.snapshot();
    for page in [encode::text(&own), encode::open_metrics(&own)] {
        let read = read(page).unwrap();
        for (mut one, two) in [(own.clone(), &read), (read.clone(), &own)] {
            one.merge(two).unwrap();
            assert_eq!(
                one.get("jobs_total", &[("zone", "a\"b"), ("kind", "x")]),
                Some(6.0)
            );
            assert_eq!(one.get("h_count", &[]), Some(2.0));
            assert_eq!(one.get("v_info", &[("v", "1")]), Some(1.0));
            assert_eq!(one.family("v_info").unwrap().kind(), Kind::Info);
            assert_eq!(one.family("jobs_total").unwrap().len(), 1);
        }
        jobs.with(["x"]).add(2);
        let since = registry.snapshot().since(&read);
        let gained = since.get("jobs_total", &[("kind", "x"), ("zone", "a\"b")]);
        assert_eq!(gained.map(|n| n % 2.0), Some(0.0));
        assert!(gained < Some(5.0), "{gained:?}");
    }
}

#[test]
fn summaries_that_are_read_do_not_merge() {
    let registry = tallies::Registry::new();
    let s = tallies::Summary::builder("s", "")
        .register(&registry)
        .unwrap();
    s.observe(2.0);
    let own = registry.snapshot();
    let read = text(&encode::text(&own));
    for (mut one, two) in [
        (own.clone(), &read),
        (read.clone(), &own),
        (read.clone(), &read),
    ] {
        let error = one.merge(two).unwrap_err().to_string();
        assert_eq!(
            error,
            "summary `s` was read from a page: its quantiles cannot be merged without the observations behind them"
        );
    }
    // Merging into a snapshot without the family copies it.
    let mut empty = Snapshot::default();
    empty.merge(&read).unwrap();
    assert_eq!(empty.get("s_count", &[]), Some(1.0));
    // Count and sum are differences. An interval has no quantiles.
    s.observe(3.0);
    let now = registry.snapshot();
    for (now, before) in [(&now, &read), (&text(&encode::text(&now)), &own)] {
        let since = now.since(before);
        assert_eq!(
            (since.get("s_count", &[]), since.get("s_sum", &[])),
            (Some(1.0), Some(3.0))
        );
        let Value::Summary(s) = value(since.family("s").unwrap()) else {
            panic!("a summary")
        };
        assert_eq!(s.exported().count(), 0);
    }
}

/// The page of a family without series does not contain its buckets, so merging it with a snapshot
/// of its own registry failed.
#[test]
fn families_without_series_merge() {
    let registry = tallies::Registry::new();
    let h = tallies::Histogram::builder("h", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let none = registry.snapshot();
    h.with(["y"]).observe(0.3);
    let one = registry.snapshot();
    for (mut ours, theirs) in [
        (one.clone(), text(&encode::text(&none))),
        (text(&encode::text(&none)), one),
    ] {
        ours.merge(&theirs).unwrap();
        assert_eq!(ours.get("h_count", &[("x", "y")]), Some(1.0));
        assert_eq!(
            ours.get("h_bucket", &[("x", "y"), ("le", "0.25")]),
            Some(0.0)
        );
    }
}

#[test]
fn a_sum_that_is_not_known_stays_so() {
    let page = "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\n# EOF\n";
    let mut one = open_metrics(page);
    let other = open_metrics(&page.replace("# EOF", "h_sum 1\nh_count 1\n# EOF"));
    one.merge(&other).unwrap();
    assert_eq!(one.get("h_count", &[]), Some(2.0));
    assert!(one.get("h_sum", &[]).is_some_and(f64::is_nan));
    assert!(!encode::open_metrics(&one).contains("h_sum"));
}
