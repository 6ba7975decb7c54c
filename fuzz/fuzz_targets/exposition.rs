//! Any declarations, written in every text-based format and with every escaping, are a valid page.
//! Without escaped names the page reads back as the declarations.

#![cfg_attr(fuzzing, no_main)]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tallies::encode::{self, Escaping, Format, Options};
use tallies::snapshot::{Family, Kind, Value};
use tallies::{
    Counter, Error, Gauge, Histogram, Info, Registry, Summary, collect::Collected,
    snapshot::Snapshot,
};

#[derive(Arbitrary, Debug)]
enum What {
    Counter(Vec<(String, f64)>),
    Whole(Vec<(String, u64)>),
    Gauge(Vec<(String, f64)>),
    Histogram(Vec<f64>, Option<i8>, Vec<(String, f64)>),
    Summary(Vec<u8>, Vec<(String, f64)>),
    Info(String),
    GaugeHistogram(Vec<f64>, Vec<(String, Vec<u32>, f64)>),
}

#[derive(Arbitrary, Debug)]
struct Declared {
    name: String,
    suffix: u8,
    utf8: bool,
    label: String,
    what: What,
    help: String,
    unit: String,
    constant: Option<(String, String)>,
}

/// Suffixes that make names conflict, and parts of formats.
const SUFFIXES: [&str; 9] = [
    "", "_total", "_created", "_info", "_count", "_sum", "_bucket", "_seconds", ".a",
];

fn declare(registry: &Registry, declared: &Declared) -> Result<(), Error> {
    let name = declared.name.clone() + SUFFIXES[declared.suffix as usize % SUFFIXES.len()];
    macro_rules! register {
        ($kind:ty, $options:expr) => {{
            let mut builder = <$kind>::builder(&name, &declared.help).unit(&declared.unit);
            if declared.utf8 {
                builder = builder.utf8();
            }
            if let Some((name, value)) = &declared.constant {
                builder = builder.constant(name, value);
            }
            #[allow(clippy::redundant_closure_call)]
            $options(builder)
                .labels([&*declared.label])
                .register(registry)?
        }};
    }
    match &declared.what {
        What::Counter(updates) => {
            let family = register!(Counter, |b: tallies::Builder<Counter>| b.float());
            updates
                .iter()
                .for_each(|(label, x)| family.with([label]).add(*x));
        }
        What::Whole(updates) => {
            let family = register!(Counter, |b| b);
            updates
                .iter()
                .for_each(|(label, n)| family.with([label]).add(*n));
        }
        What::Gauge(updates) => {
            let family = register!(Gauge<()>, |b| b);
            updates
                .iter()
                .for_each(|(label, x)| family.with([label]).set(*x));
        }
        What::Histogram(bounds, schema, updates) => {
            let buckets = |b: tallies::Builder<Histogram>| match schema {
                // Exponential buckets only, which text cannot represent.
                Some(schema) if bounds.is_empty() => b.native(*schema),
                Some(schema) => b.buckets(bounds).native(*schema),
                None => b.buckets(bounds),
            };
            let family = register!(Histogram<()>, buckets);
            for (label, x) in updates {
                let series = family.with([label]);
                series.observe_exemplar(*x, &[("label", label)]);
            }
        }
        What::Summary(phis, updates) => {
            let mut objectives: Vec<_> = phis
                .iter()
                .map(|phi| (f64::from(*phi) / 255.0, 0.05))
                .collect();
            objectives.truncate(3);
            let builder = |b: tallies::Builder<Summary>| b.objectives(&objectives);
            let _ = builder(Summary::builder("s", ""))?;
            let family = register!(Summary<()>, |b| builder(b).unwrap());
            updates
                .iter()
                .for_each(|(label, x)| family.with([label]).observe(*x));
        }
        What::GaugeHistogram(bounds, series) => {
            let (bounds, series) = (bounds.clone(), series.clone());
            let (help, label) = (declared.help.clone(), declared.label.clone());
            registry.add_collector(&name.clone(), move |out: &mut Collected| {
                for (value, counts, sum) in &series {
                    let counts: Vec<_> = counts.iter().map(|n| u64::from(*n)).collect();
                    let labels = [(&*label, &**value)];
                    out.gauge_histogram(&name, &help, &labels, &bounds, &counts, *sum)?;
                }
                Ok(())
            })?;
        }
        What::Info(value) => register!(Info<()>, |b| b).set([value]),
    }
    Ok(())
}

/// A number as a page can represent it: the bits, or `None` for NaN.
fn number(x: f64) -> Option<u64> {
    (!x.is_nan()).then(|| x.to_bits())
}

/// The sum, if OpenMetrics writes one.
fn sum(x: f64, there: bool) -> Option<u64> {
    number(if there { x } else { f64::NAN })
}

fn same(own: &Family, read: &Family, strict: bool) {
    // OpenMetrics has no line that ends in a carriage return.
    let help = |family: &Family| family.help().trim_end_matches('\r').to_owned();
    assert_eq!(help(own), help(read));
    if strict {
        assert_eq!(own.kind(), read.kind());
        assert!(read.unit().is_empty() || read.unit() == own.unit());
    } else {
        assert_eq!(own.kind().as_text(), read.kind().as_text());
    }
    assert_eq!(own.len(), read.len(), "{}", own.name());
    for (i, (a, b)) in own.series().zip(read.series()).enumerate() {
        assert!(a.0.iter().eq(b.0.iter()), "{:?} {:?}", a.0, b.0);
        if strict && matches!(own.kind(), Kind::Counter | Kind::Histogram | Kind::Summary) {
            assert_eq!(own.created(i), read.created(i));
        }
        if strict {
            let mut read = read.exemplars(i);
            for (bucket, exemplar) in own.exemplars(i) {
                let (at, found) = read.next().unwrap();
                assert_eq!((bucket, exemplar.value()), (at, found.value()));
                assert!(exemplar.labels().eq(found.labels()));
            }
        }
        match (a.1, b.1) {
            (Value::Counter(a), Value::Counter(b)) => assert_eq!(a.as_f64(), b.as_f64()),
            (Value::Gauge(a), Value::Gauge(b)) => assert_eq!(number(a), number(b)),
            (Value::Histogram(a), Value::Histogram(b)) => {
                assert!(a.buckets().eq(b.buckets()), "{a:?} {b:?}");
                let negative = a.buckets().next().is_some_and(|(bound, _)| bound < 0.0);
                let there = match own.kind() {
                    _ if !strict => true,
                    Kind::GaugeHistogram => negative || a.sum() >= 0.0,
                    _ => !negative && a.sum() >= 0.0,
                };
                assert_eq!(sum(a.sum() + 0.0, there), number(b.sum() + 0.0));
            }
            (Value::Summary(a), Value::Summary(b)) => {
                assert_eq!(a.count(), b.count());
                assert_eq!(
                    sum(a.sum() + 0.0, !strict || a.sum() >= 0.0),
                    number(b.sum() + 0.0)
                );
                let wanted = a
                    .exported()
                    .filter(|(_, x)| !strict || x.is_nan() || *x >= 0.0);
                let wanted: Vec<_> = wanted.map(|(phi, x)| (phi, number(x))).collect();
                let read: Vec<_> = b.exported().map(|(phi, x)| (phi, number(x))).collect();
                assert_eq!(wanted, read);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn check(own: &Snapshot, read: &Snapshot, strict: bool) {
    assert_eq!(own.families().count(), read.families().count());
    for family in own.families() {
        let suffix = match family.kind() {
            Kind::Counter if strict => "_total",
            Kind::Info if strict => "_info",
            _ => "",
        };
        let name = match family.name().strip_suffix(suffix) {
            Some(stem) if !stem.is_empty() => family.name().to_owned(),
            _ => format!("{}{suffix}", family.name()),
        };
        let read = read.family(&name).unwrap_or_else(|| panic!("{name}"));
        same(family, read, strict);
    }
}

fuzz_target!(|families: Vec<Declared>| {
    let registry = Registry::new();
    for declared in families.iter().take(20) {
        // Declarations that are rejected are left out.
        let _ = declare(&registry, declared);
    }
    let snapshot = registry.snapshot();
    for escaping in [
        Escaping::AllowUtf8,
        Escaping::Underscores,
        Escaping::Dots,
        Escaping::Values,
    ] {
        let options = Options::new().created(true);
        for options in [options, options.timestamps(true)] {
            let (mut text, mut open_metrics) = (Vec::new(), Vec::new());
            options.write(&snapshot, Format::TEXT.escaped(escaping), &mut text);
            let format = Format::OPEN_METRICS.escaped(escaping);
            options.write(&snapshot, format, &mut open_metrics);
            let show = String::from_utf8_lossy;
            let text =
                tallies_check::read_text(&text).unwrap_or_else(|e| panic!("{e}\n{}", show(&text)));
            let open_metrics = tallies_check::read(&open_metrics)
                .unwrap_or_else(|e| panic!("{e}\n{}", show(&open_metrics)));
            let format = Format::OPEN_METRICS_2.escaped(escaping);
            let page = |snapshot| {
                let mut page = Vec::new();
                options.write(snapshot, format, &mut page);
                String::from_utf8(page).unwrap()
            };
            let newer = page(&snapshot);
            let read = tallies_check::read_open_metrics_2(&newer)
                .unwrap_or_else(|e| panic!("{e}\n{newer}"));
            if escaping == Escaping::AllowUtf8 {
                check(&snapshot, &text, false);
                check(&snapshot, &open_metrics, true);
                check(&snapshot, &read, false);
                // Exemplars and start times, too, are read and written again.
                assert_eq!(newer, page(&read));
            }
        }
    }
    let mut both = snapshot.clone();
    let page = encode::text(&snapshot);
    let read = tallies_check::read_text(&page).unwrap();
    // A page may fail to merge if it lacks something that text cannot represent.
    let summaries = snapshot.families().any(|f| f.kind() == Kind::Summary);
    let native = |f: &Declared| matches!(f.what, What::Histogram(_, Some(_), _));
    let native = families.iter().any(native);
    let utf8 = families.iter().any(|declared| declared.utf8);
    assert!(both.merge(&read).is_ok() || summaries || native || utf8);
    // A family without series is not on the page.
    let empty = snapshot.families().all(Family::is_empty);
    assert_eq!(encode::protobuf(&snapshot).is_empty(), empty);
});
