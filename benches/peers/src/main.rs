//! Prints one table: every operation of section 7 of design.md, by the floor, by tallies and by its
//! peers.
//!
//! `cargo run --release` measures all rows, `cargo run --release -- counter histogram` only these.
//! For more than two threads: `benches/scaling.sh`.

use peers::memory::{self, Counting};
use peers::timing::{Class, Figure, Form, Work, Workers};
use peers::workload::SERIES;
use peers::{CONTESTANTS, FLOOR, Row, TALLIES};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A row, its name on the command line, its title, and its targets against the floor and against
/// the best peer.
type Target = (Row, &'static str, &'static str, &'static str, &'static str);

const TARGETS: [Target; 33] = [
    (Row::Counter, "counter", "counter inc", "≤ 1.2", "8× / 8×"),
    (
        Row::Handles,
        "handles",
        "counter inc, 16 handles in turn",
        "≤ 1.2",
        "8×",
    ),
    (
        Row::Float,
        "float",
        "counter add, float",
        "≤ 1.1",
        "1.7× / 7×",
    ),
    (
        Row::LabelStrings,
        "labels",
        "label look-up, strings, 100 series",
        "≤ 1.3",
        "3.3× / 9×",
    ),
    (
        Row::LabelEnums,
        "enums",
        "label look-up, enums",
        "≤ 1.3",
        "4×",
    ),
    (
        Row::Thousand,
        "thousand",
        "counter inc, 1 024 bound series in turn",
        "",
        "0.83×",
    ),
    (
        Row::Walk,
        "walk",
        "counter inc, 100 000 bound series, random walk",
        "",
        "0.83×",
    ),
    (
        Row::WalkHistogram,
        "walk-histogram",
        "histogram, 100 000 bound series, random walk",
        "",
        "0.91×",
    ),
    (
        Row::InTurn,
        "in-turn",
        "label look-up, strings, 100 000 series in turn",
        "",
        "1.43×",
    ),
    (
        Row::Facade,
        "facade",
        "`counter!` of the metrics crate, two constant labels",
        "",
        "2× / 5×",
    ),
    (Row::Gauge, "gauge", "gauge set", "≤ 1.2", "level"),
    (
        Row::UpDown,
        "up-down",
        "in flight: up and down",
        "≤ 1.3",
        "10×",
    ),
    (
        Row::Histogram,
        "histogram",
        "histogram, 11 bounds",
        "≤ 1.25",
        "4×",
    ),
    (Row::Native, "native", "native histogram", "≤ 1.3", "4×"),
    (
        Row::Summary,
        "summary",
        "summary (.5, .9, .99)",
        "≤ 1.3",
        "4×",
    ),
    (
        Row::Timer,
        "timer",
        "timer + histogram, `Instant`",
        "≤ 1.1",
        "level",
    ),
    (
        Row::TimerTsc,
        "timer-tsc",
        "timer + histogram, time-stamp counter",
        "≤ 1.1",
        "1.6×",
    ),
    (
        Row::ScrapeCounters,
        "scrape-counters",
        "scrape, 100 000 counters, per series (warm / cold caches)",
        "≤ 1.3",
        "6×",
    ),
    (
        Row::ScrapeFresh,
        "scrape-fresh",
        "the same, a new snapshot each time; floor: our reused one",
        "≤ 2",
        "",
    ),
    (
        Row::ScrapeRendered,
        "scrape-rendered",
        "the same, new snapshot and new page; floor: our reused ones",
        "≤ 2",
        "",
    ),
    (
        Row::ScrapeChurned,
        "scrape-churned",
        "the same, one label set replaced each time; floor: without",
        "≤ 1.2",
        "",
    ),
    (
        Row::ScrapeFamilies,
        "scrape-families",
        "scrape, 1 000 families of 100 counters, per series",
        "≤ 1.3",
        "",
    ),
    (
        Row::ScrapeFamiliesFresh,
        "scrape-families-fresh",
        "the same, a new snapshot each time; floor: our reused one",
        "≤ 2",
        "",
    ),
    (
        Row::ScrapeHistograms,
        "scrape-histograms",
        "scrape, 100 000 histograms, per series (warm / cold caches)",
        "≤ 1.3",
        "4×",
    ),
    (
        Row::OpenMetricsCounters,
        "openmetrics-counters",
        "the same counters in OpenMetrics; floor: our text",
        "≤ 1.5",
        "",
    ),
    (
        Row::OpenMetricsHistograms,
        "openmetrics-histograms",
        "the same histograms in OpenMetrics; floor: our text",
        "≤ 1.5",
        "",
    ),
    (
        Row::ProtobufCounters,
        "protobuf-counters",
        "the same counters in protobuf; floor: our text",
        "≤ 1.5",
        "",
    ),
    (
        Row::ProtobufHistograms,
        "protobuf-histograms",
        "the same histograms in protobuf; floor: our text",
        "≤ 1.5",
        "",
    ),
    (
        Row::Register,
        "register",
        "register a series",
        "≤ 2",
        "ahead of the popular two",
    ),
    (
        Row::BytesCounter,
        "bytes-counter",
        "bytes per series, counter",
        "≤ 1.3",
        "ahead of the popular two",
    ),
    (
        Row::BytesHistogram,
        "bytes-histogram",
        "bytes per series, histogram",
        "≤ 1.3",
        "ahead of the popular two",
    ),
    (
        Row::BytesBoundCounter,
        "bytes-bound-counter",
        "bytes per series with a handle, counter",
        "",
        "",
    ),
    (
        Row::BytesBoundHistogram,
        "bytes-bound-histogram",
        "bytes per series with a handle, histogram",
        "",
        "",
    ),
];

/// The result of one form.
struct Entry {
    contestant: usize,
    how: &'static str,
    class: Class,
    figure: Figure,
}

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = names
        .iter()
        .find(|name| TARGETS.iter().all(|target| target.1 != *name))
    {
        let known: Vec<_> = TARGETS.iter().map(|target| target.1).collect();
        eprintln!("no row `{unknown}`; there are: {}", known.join(" "));
        std::process::exit(2);
    }

    let workers = Workers::start();
    let mut notes = vec![];
    println!(
        "| operation | {} | tallies ÷ floor | best peer | best peer ÷ tallies |",
        CONTESTANTS.map(|c| c.0).join(" | ")
    );
    println!("|---|{}", "---|".repeat(CONTESTANTS.len() + 3));
    for target in TARGETS
        .iter()
        .filter(|target| names.is_empty() || names.iter().any(|name| name == target.1))
    {
        let results = measure(&workers, target.0);
        println!("{}", line(target, &results));
        notes.push(note(target, &results));
    }
    println!(
        "\nNanoseconds of processor time per operation, at one thread / at two on the same metric (scrapes: with warm / cold caches; bytes: requested from the \
         allocator). `r`: the form of the README where it is another. `b`: buffered by the caller, unseen until flushed, not compared. \
         `~`: too few undisturbed rounds; the two threads seldom ran at the same time, so contention is understated. `wrong`: the result is not the number of \
         operations. Target in brackets.\n"
    );
    notes.iter().for_each(|note| println!("{note}"));
}

fn measure(workers: &Workers, row: Row) -> Vec<Entry> {
    let mut results = vec![];
    let mut timed = vec![];
    // `PEERS=floor,tallies` measures only these contestants, for work on one of them.
    let some = std::env::var("PEERS").ok();
    let wanted = |name: &str| {
        some.as_ref()
            .is_none_or(|some| some.split(',').any(|other| other == name))
    };
    for (contestant, (_, forms)) in CONTESTANTS
        .iter()
        .enumerate()
        .filter(|(_, contestant)| wanted(contestant.0))
    {
        for Form { how, class, work } in forms(row) {
            let mut result = Entry {
                contestant,
                how,
                class,
                figure: Figure::default(),
            };
            match work {
                Work::Timed(work) => timed.push((results.len(), work)),
                Work::Held(make) => result.figure.one = memory::held(make) as f64 / SERIES as f64,
            }
            results.push(result);
        }
    }
    let (places, timed): (Vec<_>, Vec<_>) = timed.into_iter().unzip();
    for (place, figure) in places.into_iter().zip(workers.measure(&timed)) {
        results[place].figure = figure;
    }
    results
}

fn line((_, _, title, to_floor, to_peer): &Target, results: &[Entry]) -> String {
    let cells: Vec<_> = (0..CONTESTANTS.len())
        .map(|contestant| cell(results, contestant))
        .collect();
    let ours = best(results, |result| result.contestant == TALLIES);
    let floor = best(results, |result| result.contestant == FLOOR);
    let peer = best(results, |result| {
        result.contestant > TALLIES && result.class != Class::Buffered
    });
    let quotient = |above: &Option<Best>, below: &Option<Best>, unit: &str| match (above, below) {
        (Some(above), Some(below)) => {
            let one = format!("{:.2}{unit}", above.one / below.one);
            let mark = if above.doubtful || below.doubtful {
                "~"
            } else {
                ""
            };
            let two = above
                .two
                .zip(below.two)
                .map(|(above, below)| format!(" / {mark}{:.2}{unit}", above / below));
            one + &two.unwrap_or_default()
        }
        _ => "–".to_owned(),
    };
    format!(
        "| {title} | {} | {} ({to_floor}) | {} | {} ({to_peer}) |",
        cells.join(" | "),
        quotient(&ours, &floor, ""),
        peer.as_ref().map_or("–".to_owned(), |peer| show(Figure {
            one: peer.one,
            two: peer.two,
            doubtful: peer.doubtful,
            wrong: false,
        })),
        quotient(&peer, &ours, "×"),
    )
}

/// Formats a contestant's figures: its best form, then the README's and the buffered one.
fn cell(results: &[Entry], contestant: usize) -> String {
    let of = |class| {
        let figures = results
            .iter()
            .filter(move |result| result.contestant == contestant && result.class == class);
        figures.min_by(|a, b| a.figure.one.total_cmp(&b.figure.one))
    };
    let parts = [
        (Class::Fastest, ""),
        (Class::Readme, "r "),
        (Class::Buffered, "b "),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .filter_map(|(class, mark)| {
            of(class).map(|result| format!("{mark}{}", show(result.figure)))
        })
        .collect();
    if parts.is_empty() {
        "–".to_owned()
    } else {
        parts.join("; ")
    }
}

/// The minimum at one thread and the minimum at two threads, possibly of different forms.
struct Best {
    one: f64,
    two: Option<f64>,
    doubtful: bool,
}

fn best(results: &[Entry], which: impl Fn(&Entry) -> bool) -> Option<Best> {
    let figures = || {
        results
            .iter()
            .filter(|result| which(result))
            .map(|result| result.figure)
    };
    Some(Best {
        one: figures().map(|figure| figure.one).min_by(f64::total_cmp)?,
        two: figures()
            .filter_map(|figure| figure.two)
            .min_by(f64::total_cmp),
        doubtful: figures().any(|figure| figure.doubtful),
    })
}

fn show(
    Figure {
        one,
        two,
        doubtful,
        wrong,
    }: Figure,
) -> String {
    let mark = if doubtful { "~" } else { "" };
    let two = two
        .map(|two| format!(" / {mark}{}", round(two)))
        .unwrap_or_default();
    let wrong = if wrong { " **wrong**" } else { "" };
    round(one) + &two + wrong
}

fn round(number: f64) -> String {
    let digits = if number < 3.0 {
        2
    } else if number < 100.0 {
        1
    } else {
        0
    };
    format!("{number:.digits$}")
}

/// Describes the form behind each number of a row.
fn note((_, name, ..): &Target, results: &[Entry]) -> String {
    let forms = results.iter().map(|result| {
        let Entry {
            contestant,
            how,
            class,
            figure,
        } = result;
        let class = match class {
            Class::Fastest => "",
            Class::Readme => " (r)",
            Class::Buffered => " (b)",
        };
        format!(
            "{}{class} {}, {how}",
            CONTESTANTS[*contestant].0,
            show(*figure)
        )
    });
    format!("- `{name}`: {}", forms.collect::<Vec<_>>().join("; "))
}
