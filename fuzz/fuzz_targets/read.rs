//! Reading any bytes never panics. A valid page, written in its own format, reads back as the same
//! page; writing it in any other format does not panic. The lenient reader reads the same, and
//! whatever it reads of other bytes can be written.

#![cfg_attr(fuzzing, no_main)]

use libfuzzer_sys::fuzz_target;
use tallies::encode::{self, Escaping, Format, Options};
use tallies::snapshot::Snapshot;

fn page(snapshot: &Snapshot, format: Format) -> String {
    let format = format.escaped(Escaping::AllowUtf8);
    let mut page = Vec::new();
    Options::new()
        .created(true)
        .write(snapshot, format, &mut page);
    String::from_utf8(page).unwrap()
}

fn text(snapshot: &Snapshot) -> String {
    page(snapshot, Format::TEXT)
}

fn open_metrics(snapshot: &Snapshot) -> String {
    page(snapshot, Format::OPEN_METRICS)
}

fn open_metrics_2(snapshot: &Snapshot) -> String {
    page(snapshot, Format::OPEN_METRICS_2)
}

fuzz_target!(|bytes: &[u8]| {
    let reads = [
        (tallies_check::read_text(bytes), text as fn(&_) -> _),
        (tallies_check::read_open_metrics(bytes), open_metrics),
        (tallies_check::read_open_metrics_2(bytes), open_metrics_2),
    ];
    for (i, (read, write)) in reads.iter().enumerate() {
        let content_type = [
            "text/plain",
            "application/openmetrics-text; version=1.0.0",
            "application/openmetrics-text; version=2.0.0",
        ][i];
        match (
            tallies_check::read_as_scraped(bytes, Some(content_type)),
            read,
        ) {
            (Ok(scraped), Ok(read)) => assert_eq!(write(scraped.snapshot()), write(read)),
            (Ok(scraped), Err(_)) => {
                assert_ne!(scraped.remarks(), []);
                let _ = (text(scraped.snapshot()), open_metrics(scraped.snapshot()));
                let _ = (
                    open_metrics_2(scraped.snapshot()),
                    encode::protobuf(scraped.snapshot()),
                );
                let _ = scraped.snapshot().since(scraped.snapshot());
            }
            (Err(html), read) => {
                assert!(html.to_string().contains("HTML"), "{html}");
                assert!(read.is_err());
            }
        }
        let read = match read {
            Ok(read) => read,
            Err(e) => {
                assert!(e.to_string().starts_with("line "), "{e}");
                continue;
            }
        };
        let page = write(read);
        let again = [
            tallies_check::read_text,
            tallies_check::read_open_metrics,
            tallies_check::read_open_metrics_2,
        ][i](page.as_bytes())
        .unwrap_or_else(|e| panic!("{e}\n{page}"));
        assert_eq!(page, write(&again));
        // Names that differ in one format may be equal in another, and reading then returns an
        // error.
        let _ = (
            tallies_check::read_text(text(read)),
            tallies_check::read_open_metrics(open_metrics(read)),
            tallies_check::read_open_metrics_2(open_metrics_2(read)),
        );
        let _ = encode::protobuf(read);
        let mut twice = again.clone();
        let merged = twice.merge(read);
        if merged.is_ok() {
            assert!(
                twice
                    .families()
                    .map(|f| f.len())
                    .eq(read.families().map(|f| f.len()))
            );
        }
        let none = again.since(read);
        for family in none
            .families()
            .filter(|f| f.kind() == tallies::snapshot::Kind::Counter)
        {
            for (labels, value) in family.series() {
                let tallies::snapshot::Value::Counter(n) = value else {
                    panic!("{labels:?}")
                };
                // Infinity minus infinity is not a number.
                assert!(n.as_f64() == 0.0 || n.as_f64().is_nan(), "{n:?}");
            }
        }
    }
});
