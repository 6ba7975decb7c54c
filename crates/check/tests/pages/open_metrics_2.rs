//! Tests of OpenMetrics 2.0: the examples of its specification, and round trips of every kind.

use tallies::encode::{Escaping, Format, Options};
use tallies::snapshot::Native;
use tallies::{Counter, Gauge, Info, Registry, StateSet, UpDownCounter};

use super::*;

pub(crate) fn read_2(page: &str) -> Snapshot {
    read_open_metrics_2(page).unwrap_or_else(|e| panic!("{e}\n{page}"))
}

pub(crate) fn write_2(snapshot: &Snapshot) -> String {
    let mut page = Vec::new();
    let format = Format::OPEN_METRICS_2.escaped(Escaping::AllowUtf8);
    Options::new().write(snapshot, format, &mut page);
    String::from_utf8(page).unwrap()
}

/// All that a page says about a snapshot, as text, since NaN is not equal to itself. Pages have
/// times in milliseconds.
pub(crate) fn facts(snapshot: &Snapshot) -> Vec<String> {
    let of = |family: &Family| {
        let series = family.series().enumerate().map(|(i, (labels, value))| {
            let exemplars = family.exemplars(i).map(|(bucket, exemplar)| {
                let labels: Vec<_> = exemplar.labels().collect();
                let time = exemplar
                    .time()
                    .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let millis = time.map(|time| time.as_millis());
                format!("{bucket} {labels:?} {:?} {millis:?}", exemplar.value())
            });
            let exemplars: Vec<_> = exemplars.collect();
            let created = match family.kind() {
                Kind::Counter | Kind::Histogram | Kind::Summary => family.created(i),
                _ => None,
            };
            let value = match value {
                Value::Summary(value) => format!(
                    "{} {:?} {:?}",
                    value.count(),
                    value.sum(),
                    value.exported().collect::<Vec<_>>()
                ),
                Value::Counter(value) => format!("{:?}", value.as_f64()),
                value => format!("{value:?}"),
            };
            format!("{labels:?} {value} {created:?} {exemplars:?}")
        });
        let (name, help, unit) = (family.name(), family.help(), family.unit());
        let head = format!("{name} {help:?} {unit} {}", family.kind());
        [head].into_iter().chain(series).collect::<Vec<_>>()
    };
    snapshot.families().flat_map(of).collect()
}

/// The examples of the specification. Those that differ only in names or numbers are left out.
const EXAMPLES: &[&str] = &[
    "# TYPE acme_http_router_request_seconds summary\n\
     # UNIT acme_http_router_request_seconds seconds\n\
     # HELP acme_http_router_request_seconds Some help.\n\
     acme_http_router_request_seconds{path=\"/api/v1\",method=\"GET\"} {count:807283,sum:9036.32,quantile:[0.95:2,0.99:20]} st@1605281325.0\n\
     acme_http_router_request_seconds{path=\"/api/v2\",method=\"GET\"} {count:34,sum:479.3,quantile:[0.95:2.5,0.99:2.9]} st@1605301325.0\n\
     # TYPE go_goroutines gauge\n\
     go_goroutines 69\n\
     # TYPE process_cpu_seconds_total counter\n\
     # UNIT process_cpu_seconds_total seconds\n\
     process_cpu_seconds_total 4.20072246e+06\n\
     # TYPE acme_http_request_seconds histogram\n\
     # UNIT acme_http_request_seconds seconds\n\
     acme_http_request_seconds{path=\"/api/v1\",method=\"GET\"} {count:2,sum:1.2e2,schema:0,zero_threshold:1e-4,zero_count:0,positive_spans:[1:2],positive_buckets:[1,1],bucket:[0.5:1,1:2,+Inf:2]} st@1605301325.0\n\
     # TYPE \"foodb.read.errors\" counter\n\
     # HELP \"foodb.read.errors\" Some help.\n\
     {\"foodb.read.errors\",\"service.name\"=\"my_service\"} 3482\n",
    "# TYPE \"process.cpu.seconds\" counter\n\
     # UNIT \"process.cpu.seconds\" seconds\n\
     {\"process.cpu.seconds\",\"node.name\"=\"my_node\"} 4.20072246e+06\n\
     # TYPE \"quoting_example\" gauge\n\
     {\"quoting_example\",\"foo\"=\"bar\"} 4.5\n",
    "# TYPE foo_seconds_total counter\n# UNIT foo_seconds_total seconds\n\
     # HELP foo_seconds_total Some text and \\n some \\\" escaping\n",
    "# TYPE foo_total counter\n# UNIT foo_total seconds\n",
    "bar_seconds_count 0\n",
    "bar_seconds_count{} 0\n",
    "bar_seconds_count{a=\"x\",b=\"escaping\\\" example \\n \"} 0\n",
    "# TYPE foo gauge\nfoo 17.0\n",
    "# TYPE foo gauge\nfoo{a=\"bb\"} 17.0\nfoo{a=\"ccc\"} 17.0\n",
    "# TYPE foo gauge\n",
    "# TYPE foo gauge\nfoo{a=\"b\"} 17.0 1520879607.789\n",
    "# TYPE foo gauge\nfoo 17.0 123\nfoo 18.0 456\n",
    "# TYPE foo_total counter\nfoo_total 17.0\n",
    "# TYPE foo_total counter\nfoo_total 17.0 1520879607.789\n",
    "# TYPE foo_total counter\nfoo_total 17.0 st@1520430000.123\n",
    "# TYPE foo_total counter\nfoo_total 17.0 1520879607.789 st@1520430000.123\n",
    "# TYPE foo counter\nfoo 17.0 1520879607.789 st@1520879607.789\n",
    "# TYPE foo_total counter\nfoo_total 17.0 1520879607.789 st@1520430000.123 # {trace_id=\"KOO5S4vxi0o\"} 0.67 1520879606.1\n",
    "# TYPE foo stateset\nfoo{foo=\"a\"} 0\nfoo{foo=\"bb\"} 1\nfoo{foo=\"ccc\"} 0\n",
    "# TYPE foo stateset\n\
     foo{entity=\"controller\",foo=\"a\"} 1.0\nfoo{entity=\"controller\",foo=\"bb\"} 0.0\n\
     foo{entity=\"replica\",foo=\"a\"} 1.0\nfoo{entity=\"replica\",foo=\"bb\"} 0.0\n",
    "# TYPE foo stateset\n\
     foo{entity=\"controller\",foo=\"a\"} 1.0 1000000000.000\nfoo{entity=\"controller\",foo=\"a\"} 0.0 1000000001.000\n\
     foo{entity=\"controller\",foo=\"bb\"} 0.0 1000000000.000\nfoo{entity=\"controller\",foo=\"bb\"} 1.0 1000000001.000\n\
     foo{entity=\"replica\",foo=\"a\"} 1.0 1000000000.000\nfoo{entity=\"replica\",foo=\"a\"} 1.0 1000000001.000\n",
    "# TYPE foo_info info\nfoo_info{name=\"pretty name\",version=\"8.2.7\"} 1\n",
    "# TYPE foo_info info\n\
     foo_info{entity=\"controller\",name=\"pretty name\",version=\"8.2.7\"} 1.0\n\
     foo_info{entity=\"replica\",name=\"prettier name\",version=\"8.1.9\"} 1.0\n",
    "# TYPE foo summary\nfoo {count:17,sum:324789.3,quantile:[]} st@1520430000.123\n",
    "# TYPE foo summary\nfoo {count:0,sum:0.0,quantile:[0.95:123.7,0.99:150]} st@1520430000.123\n",
    "# TYPE foo histogram\nfoo {count:17,sum:324789.3,bucket:[0.0:0,1e-05:0,0.0001:5,0.1:8,1.0:10,10.0:11,100000.0:11,1e+06:15,1e+23:16,1.1e+23:17,+Inf:17]} st@1520430000.123\n",
    "# TYPE acme_http_request_seconds histogram\n\
     acme_http_request_seconds{path=\"/api/v1\",method=\"GET\"} {count:59,sum:1.2e2,schema:7,zero_threshold:1e-4,zero_count:0,negative_spans:[1:2],negative_buckets:[5,7],positive_spans:[-1:2,3:4],positive_buckets:[5,7,10,9,8,8]} st@1520430000.123\n",
    "# TYPE acme_http_request_seconds histogram\n\
     acme_http_request_seconds{path=\"/api/v1\",method=\"GET\"} {count:0,sum:0,schema:3,zero_threshold:1e-4,zero_count:0} st@1520430000.123\n",
    "# TYPE foo histogram\nfoo {count:17,sum:324789.3,schema:0,zero_threshold:1e-4,zero_count:0,positive_spans:[0:2],positive_buckets:[5,12]} st@1520430000.123 # {trace_id=\"shaZ8oxi\"} 0.67 1520879607.789 # {trace_id=\"ookahn0M\"} 1.2 1520879608.589\n",
    "# TYPE foo histogram\nfoo {count:17,sum:324789.3,bucket:[0.01:0,0.1:8,1.0:11,10.0:17,+Inf:17]} st@1520430000.123 # {} 0.054 1520879607.7 # {trace_id=\"KOO5S4vxi0o\"} 1.67 1520879602.890 # {trace_id=\"oHg5SJYRHA0\"} 9.8 1520879607.789\n",
    "# TYPE foo histogram\nfoo {count:17,sum:324789.3,schema:0,zero_threshold:1e-4,zero_count:0,positive_spans:[0:2],positive_buckets:[5,12],bucket:[0.01:0,0.1:8,1.0:11,10.0:17,+Inf:17]} st@1520430000.123 # {} 0.054 1520879607.7 # {trace_id=\"KOO5S4vxi0o\"} 1.67 1520879602.890 # {trace_id=\"oHg5SJYRHA0\"} 9.8 1520879607.789\n",
    "# TYPE foo gaugehistogram\nfoo {gcount:42,gsum:3289.3,bucket:[0.01:20,0.1:25,1:34,+Inf:42]}\n",
    "# TYPE acme_http_request_seconds gaugehistogram\n\
     acme_http_request_seconds{path=\"/api/v1\",method=\"GET\"} {gcount:59,gsum:1.2e2,schema:7,zero_threshold:1e-4,zero_count:0,negative_spans:[1:2],negative_buckets:[5,7],positive_spans:[-1:2,3:4],positive_buckets:[5,7,10,9,8,8]}\n",
    "# TYPE foo unknown\nfoo 42.23\n",
    "foo 42.23\n",
];

/// Returns the words and numbers of the samples, however they are spelled and in quotes.
fn words(page: &str) -> Vec<Vec<String>> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let mut words: Vec<Vec<_>> = samples
        .map(|line| {
            let words = line.split(|c| " ,:[]{}@\"=".contains(c));
            let words = words.filter(|word| !word.is_empty());
            let spelled = |word: &str| match word.parse::<f64>() {
                Ok(number) => format!("{number:?}"),
                Err(_) => word.to_owned(),
            };
            words.map(spelled).collect()
        })
        .collect();
    words.sort();
    words
}

#[test]
fn the_examples_of_the_specification_are_read_and_written() {
    for example in EXAMPLES {
        // An end without a line feed is valid.
        let read = read_2(&format!("{example}# EOF"));
        let page = write_2(&read);
        let again = read_2(&page);
        assert_eq!(facts(&read), facts(&again), "{example}{page}");
        assert_eq!(page, write_2(&again));
        // Only timestamps of samples are lost.
        if read.taken() == UNIX_EPOCH {
            assert_eq!(words(example), words(&page));
        }
    }
}

#[test]
fn every_number_of_a_composite_value_is_read() {
    let read = read_2(
        "# TYPE h histogram\n\
         h{a=\"b\"} {count:62,sum:-1.5,schema:7,zero_threshold:1e-4,zero_count:3,negative_spans:[1:2],negative_buckets:[5,7],positive_spans:[-1:2,3:4],positive_buckets:[5,7,0,17,8,10],bucket:[-Inf:0,0.5:20,1e+06:60,+Inf:62]} 5.25 st@1.5 \
         # {} NaN 3 # {t=\"1\"} 0.5 2 # {t=\"2\"} 0.5 1 # {t=\"3\"} 7 1\n\
         # TYPE g gaugehistogram\ng {gcount:3,gsum:NaN,bucket:[+Inf:3]} # {} 1 1\n\
         # TYPE s summary\ns {count:4,sum:6,quantile:[0:NaN,0.5:2,1:3]} # {} 1 1\n\
         # EOF\n",
    );
    let h = read.family("h").unwrap();
    let Value::Histogram(seen) = h.value(0) else {
        panic!("a histogram")
    };
    let native = Native::new(
        7,
        1e-4,
        3,
        vec![(-1, 5), (0, 7), (5, 17), (6, 8), (7, 10)],
        vec![(1, 5), (2, 7)],
    );
    assert_eq!(seen.native(), Some(&native.unwrap()));
    assert_eq!((seen.count(), seen.sum()), (62, -1.5));
    let buckets = [
        (f64::NEG_INFINITY, 0),
        (0.5, 20),
        (1e6, 60),
        (f64::INFINITY, 62),
    ];
    assert!(seen.buckets().eq(buckets));
    assert_eq!(h.created(0), Some(UNIX_EPOCH + Duration::from_millis(1500)));
    assert_eq!(read.taken(), UNIX_EPOCH + Duration::from_millis(5250));
    // An exemplar is in the bucket of its value: on a bound, in the one below, and NaN in the last.
    let exemplars: Vec<_> = h
        .exemplars(0)
        .map(|(bucket, e)| (bucket, e.value(), e.time()))
        .collect();
    let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(
        exemplars[..3],
        [(1, 0.5, at(2)), (1, 0.5, at(1)), (2, 7.0, at(1))]
    );
    assert!(exemplars.len() == 4 && exemplars[3].0 == 3 && exemplars[3].1.is_nan());
    let Value::Histogram(seen) = value(read.family("g").unwrap()) else {
        panic!("a histogram")
    };
    assert!(seen.count() == 3 && seen.sum().is_nan() && seen.native().is_none());
    let s = read.family("s").unwrap();
    let Value::Summary(seen) = value(s) else {
        panic!("a summary")
    };
    let quantiles: Vec<_> = seen.exported().collect();
    assert!((seen.count(), seen.sum()) == (4, 6.0) && quantiles[0].1.is_nan());
    assert_eq!(quantiles[1..], [(0.5, 2.0), (1.0, 3.0)]);
    assert!(s.exemplars(0).map(|(bucket, _)| bucket).eq([0]));
    // OpenMetrics 1.0 has one exemplar per bucket, the last.
    let older = encode::open_metrics(&read);
    open_metrics(&older);
    assert!(
        older.contains("{t=\"2\"}") && !older.contains("{t=\"1\"}"),
        "{older}"
    );
    // NaN is counted, but is in no exponential bucket.
    let page =
        "# TYPE h histogram\nh {count:3,sum:NaN,schema:0,zero_threshold:0,zero_count:2}\n# EOF\n";
    assert_eq!(write_2(&read_2(page)), page);
}

/// A family without a type may have any values. They have no rules, except for their fields.
#[test]
fn fields_show_the_kind_of_a_family_without_a_type() {
    for (page, kind) in [
        ("a {count:1,sum:-1,quantile:[0.5:-1]}\n", Kind::Summary),
        (
            "# TYPE a unknown\na {count:1,sum:NaN,quantile:[]} st@5.000\n",
            Kind::Summary,
        ),
        (
            "a {count:1,sum:1,bucket:[+Inf:1]} # {} 1 5.000\n",
            Kind::Histogram,
        ),
        (
            "a {gcount:1,gsum:1,bucket:[+Inf:1]}\n",
            Kind::GaugeHistogram,
        ),
        ("a -1 st@5.000 # {} 1 5.000\n", Kind::Unknown),
    ] {
        let read = read_2(&format!("{page}# EOF\n"));
        assert_eq!(read.family("a").unwrap().kind(), kind);
        if kind == Kind::Summary {
            let page = page.trim_start_matches("# TYPE a unknown\n");
            assert_eq!(write_2(&read), format!("# TYPE a unknown\n{page}# EOF\n"));
        }
    }
}

#[test]
fn a_page_with_a_composite_value_or_a_start_time_is_version_2() {
    for page in [
        "a_total 1\na {count:1,sum:1,bucket:[+Inf:1]}\n# EOF\n",
        "# TYPE a_total counter\na_total 1 st@1\n# EOF",
        "# TYPE a gaugehistogram\na{b=\"c\"} {gcount:1,gsum:1,bucket:[+Inf:1]}\n# EOF\n",
    ] {
        assert!(
            read(page).is_ok() && read_open_metrics(page).is_err(),
            "{page}"
        );
    }
    // The error of version 2.0, and of 1.0.
    let error = |page: &str| read(page).unwrap_err().to_string();
    assert_eq!(
        error("a {count:1,sum:1}\n# EOF\n"),
        "line 1, column 17: found `}`; `,bucket:[`, `,schema:` or `,quantile:[` is expected"
    );
    for page in [
        "# TYPE a counter\na 1\n# EOF\n",
        "# HELP a {count:1} st@1\n# TYPE a counter\na{b=\" {count:1} st@1\"} 1\n# EOF\n",
    ] {
        assert!(error(page).ends_with("samples of counter `a` are called `a_total`, `a_created`"));
    }
}

/// The limit is that of a snapshot; the format has none.
#[test]
fn long_exemplars_are_left_out() {
    for (len, kept) in [(127, 1), (128, 0)] {
        let label = "ä".repeat(len);
        let page = format!("# TYPE a counter\na 1 # {{t=\"{label}\"}} 1 1 # {{}} 1 1\n# EOF\n");
        assert_eq!(
            read_2(&page).family("a").unwrap().exemplars(0).count(),
            kept + 1
        );
    }
}

/// Every kind that a registry has, with all that a series can have.
fn registry() -> Registry {
    let registry = Registry::new();
    registry.set_self_metrics(false);
    let escaped = "a\\b\"c\nd\re{},#";
    let total = Counter::builder("jobs_total", "Jobs \"done\"\\\n.\r").labels(["x"]);
    let total = total.constant("zone", escaped).register(&registry).unwrap();
    total
        .with([escaped])
        .add_exemplar(u64::MAX, &[("trace_id", escaped)]);
    total.with([""]).inc();
    let name = "http.requests #{}=,日";
    let float = Counter::builder(name, "")
        .utf8()
        .float()
        .labels(["http.method"]);
    float.register(&registry).unwrap().with(["GET"]).add(0.1);
    let unit = Gauge::builder("size_of_it", "")
        .unit("bytes")
        .register(&registry);
    unit.unwrap().set(f64::NEG_INFINITY);
    let up_down = UpDownCounter::builder("in_flight", "").register(&registry);
    up_down.unwrap().sub(3);
    type Histogram<L = ()> = tallies::Histogram<L>;
    let classic = Histogram::builder("classic", "").buckets(&[-1.5, 0.25, 1e6]);
    let native = Histogram::builder("native", "").native(3);
    let both = Histogram::builder("both_seconds", "")
        .unit("seconds")
        .buckets(&[0.0, 1.0])
        .native(0);
    for builder in [classic, native, both] {
        let family = builder.labels(["x"]).register(&registry).unwrap();
        family.with(["none"]);
        for x in [-7.0, -0.0, 0.1, 0.25, 3.5, 1e9, f64::INFINITY] {
            family
                .with([escaped])
                .observe_exemplar(x, &[("trace_id", "1f")]);
        }
    }
    let summary = tallies::Summary::builder("lengths", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    (0..100).for_each(|n| summary.with(["some"]).observe(f64::from(n)));
    summary.with(["none"]);
    let info = Info::builder("build_info", "")
        .labels(["version"])
        .register(&registry);
    info.unwrap().set([escaped]);
    StateSet::<bool>::builder("on", "")
        .register(&registry)
        .unwrap()
        .set(true);
    let other = Info::builder("machine", "")
        .labels(["version"])
        .register(&registry);
    other.unwrap().set(["1"]);
    registry
        .add_collector("ages", |out: &mut tallies::collect::Collected| {
            out.gauge_histogram("ages", "", &[("x", "y")], &[1.0, 2.0], &[1, 0, 3], -7.5)?;
            Ok(())
        })
        .unwrap();
    registry
}

#[test]
fn every_kind_of_a_registry_reads_back() {
    let mut own = registry().snapshot();
    own.merge(&read_2("# TYPE u unknown\nu 1.5\n# EOF\n"))
        .unwrap();
    let page = write_2(&own);
    let read = read_2(&page);
    assert_eq!(page, write_2(&read));
    let expected = facts(&own).into_iter().map(|fact| match &*fact {
        // What the format has another way: labels in one list, an info whose name has no suffix as
        // a gauge, and no carriage return at the end of a help.
        "machine \"\"  info" => "machine \"\"  gauge".to_owned(),
        fact => fact.replace(".\\r\"", ".\""),
    });
    assert_eq!(facts(&read), expected.collect::<Vec<_>>(), "{page}");
    let kinds: std::collections::HashSet<_> =
        read.families().map(|f| f.kind().to_string()).collect();
    assert_eq!(kinds.len(), 8, "{kinds:?}");
    // A client that asks for other names gets a page that is valid, too.
    for escaping in [Escaping::Underscores, Escaping::Dots, Escaping::Values] {
        for options in [Options::new(), Options::new().timestamps(true)] {
            let mut page = Vec::new();
            options.write(&own, Format::OPEN_METRICS_2.escaped(escaping), &mut page);
            let read = read_2(std::str::from_utf8(&page).unwrap());
            assert_eq!(read.families().count(), own.families().count());
        }
    }
}

/// The counts of native buckets below and above zero, and of the zero bucket.
type Natives = (BTreeMap<i16, u32>, BTreeMap<i16, u32>, u32);

proptest! {
    /// A written page reads back, and writing what was read gives the same page.
    #[test]
    fn back_and_forth_in_version_2(
        totals in labelled(any::<f64>().prop_map(f64::abs)),
        gauges in labelled(any::<f64>()),
        quantiles in labelled((any::<u64>(), any::<f64>(), any::<f64>())),
        natives in labelled((any::<Natives>(), 0.0..1.0, any::<f64>())),
        schema in -4_i8..=0,
        exemplars in proptest::collection::vec((any::<String>(), any::<f64>(), 0..1_u64 << 40), 0..5),
        start in 1..1_u64 << 40,
        help in any::<String>(),
    ) {
        let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        let family = |name, kind, values: Vec<(&String, Value<'_>)>| {
            let help = help.trim_end_matches('\r');
            let mut family = Family::empty(name, help, "x:1", kind).unwrap();
            for (i, (label, value)) in values.into_iter().enumerate() {
                family.push(&[("x.y", label)], value).unwrap();
                family.set_created(i, at(start));
                if kind == Kind::Counter || kind == Kind::Histogram {
                    let bucket = |value: f64| usize::from(kind == Kind::Histogram && (value.is_nan() || value > 1.0));
                    for at_bucket in 0..2 {
                        let here = |(_, value, _): &&(String, f64, u64)| bucket(*value) == at_bucket;
                        for (text, value, millis) in exemplars.iter().filter(here) {
                            let text: String = text.chars().take(100).collect();
                            let added = family.push_exemplar(at_bucket, &[("t.d", &text)], *value, Some(at(*millis)));
                            added.unwrap();
                        }
                    }
                }
            }
            family
        };
        let totals: Vec<_> = totals.iter().map(|(x, n)| (x, Value::Counter(Number::Float(*n)))).collect();
        let gauges = gauges.iter().map(|(x, value)| (x, Value::Gauge(*value)));
        let observed: Vec<_> = natives.iter().map(|(x, ((negative, positive, zero), part, sum))| {
            let valid = |buckets: &BTreeMap<i16, u32>| -> Vec<_> {
                let all = buckets.iter().map(|(i, n)| (i32::from(*i) % 60, u64::from(*n)));
                let all: BTreeMap<_, _> = all.collect();
                all.into_iter().collect()
            };
            let native = Native::new(schema, 0.5, u64::from(*zero), valid(positive), valid(negative)).unwrap();
            let below = (native.count() as f64 * part) as u64;
            (x, [below, native.count() - below], *sum, native)
        }).collect();
        let both = observed.iter().map(|(x, counts, sum, native)| {
            (*x, Value::Histogram(Histogram::new(&[1.0], counts, *sum).unwrap().and_native(native)))
        });
        let alone: Vec<_> = observed.iter().map(|(x, counts, sum, native)| (*x, [counts[0] + counts[1]], *sum, native)).collect();
        let alone = alone.iter().map(|(x, counts, sum, native)| {
            (*x, Value::Histogram(Histogram::new(&[], counts, *sum).unwrap().and_native(native)))
        });
        let quantiles: Vec<_> = quantiles.iter().map(|(label, (count, sum, x))| {
            (label, *count, sum.abs(), [(0.0, x.abs()), (0.5, f64::NAN), (1.0, 0.0)])
        }).collect();
        let summaries = quantiles.iter().map(|(x, count, sum, quantiles)| {
            (*x, Value::Summary(Summary::new(Some(*count), *sum, quantiles)))
        });
        let families = vec![
            family("c", Kind::Counter, totals),
            family("g", Kind::Gauge, gauges.collect()),
            family("h", Kind::Histogram, both.collect()),
            family("n", Kind::GaugeHistogram, alone.collect()),
            family("s", Kind::Summary, summaries.collect()),
        ];
        let snapshot = Snapshot::new(families, UNIX_EPOCH).unwrap();
        let page = write_2(&snapshot);
        let read = read_open_metrics_2(&page).map_err(|e| TestCaseError::fail(format!("{e}\n{page}")))?;
        prop_assert_eq!(&page, &write_2(&read));
        prop_assert_eq!(facts(&read), facts(&snapshot));
    }
}
