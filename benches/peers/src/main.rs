//! Prints one table: every operation of section 7 of design.md, by the floor, by tallies and by its
//! peers.
//!
//! `cargo run --release` measures all rows, `cargo run --release -- counter histogram` only these.
//! For more than two threads: `benches/scaling.sh`.

use std::sync::Arc;
use std::time::Duration;

use peers::form::{Class, Form, Timed, Way, Work};
use peers::memory::{self, Counting};
use peers::workload::SERIES;
use peers::{CONTESTANTS, FLOOR, Row, TALLIES};
use tallies_bench::compare::{Compare, Field, Ratio, Standings};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A row, its name on the command line, its title, and its targets against the floor and against
/// the best peer.
type Target = (Row, &'static str, &'static str, &'static str, &'static str);

const TARGETS: [Target; 34] = [
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
        Row::Event,
        "event",
        "four counters and a histogram of one event, 1 000 label sets",
        "≤ 1.3",
        "",
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

/// The time of a batch.
const BATCH: Duration = Duration::from_millis(6);
/// The longest time of one form at one number of threads, unless ten rounds take longer.
const SHARE: Duration = Duration::from_millis(200);

/// The result of one form.
struct Entry {
    contestant: usize,
    how: &'static str,
    class: Class,
    figure: Figure,
    /// Its number in both fields.
    place: Option<usize>,
}

/// Nanoseconds per operation: at one thread and at two, or of a scrape with warm caches and with
/// cold ones.
#[derive(Clone, Copy, Default)]
struct Figure {
    one: f64,
    two: Option<f64>,
    /// There were too few clean rounds: at two threads, read `two` as a lower bound.
    doubtful: bool,
    /// The check failed: not every operation had an effect.
    wrong: bool,
}

/// The results of a row: its entries and both fields, which are absent from rows of bytes.
struct Results {
    entries: Vec<Entry>,
    fields: Option<[Standings; 2]>,
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
        let results = measure(target.0);
        println!("{}", line(target, &results));
        notes.push(note(target, &results));
    }
    println!(
        "\nNanoseconds of processor time per operation, at one thread / at two on the same metric (scrapes: with warm / cold caches; bytes: requested from the \
         allocator). Ratios with the interval that contains them with 95 %, however long the run was. `r`: the form of the README where it is another. `b`: \
         buffered by the caller, unseen until flushed, not compared. `~`: too few undisturbed rounds; the two threads seldom ran at the same time, so contention \
         is understated. `wrong`: the result is not the number of operations. `control`: the first form against itself, which shows the machine. Target in \
         brackets.\n"
    );
    notes.iter().for_each(|note| println!("{note}"));
}

fn measure(row: Row) -> Results {
    let mut entries = vec![];
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
            let (mut figure, mut place) = (Figure::default(), None);
            match work {
                Work::Timed(work) => {
                    place = Some(timed.len());
                    timed.push((how, work));
                }
                Work::Held(make) => figure.one = memory::held(make) as f64 / SERIES as f64,
            }
            entries.push(Entry {
                contestant,
                how,
                class,
                figure,
                place,
            });
        }
    }
    let fields = (!timed.is_empty()).then(|| [Way::Plain, Way::Harder].map(|way| run(&timed, way)));
    for (entry, place) in entries
        .iter_mut()
        .filter_map(|entry| entry.place.map(|place| (entry, place)))
    {
        let work = &timed[place].1;
        let [one, two] = fields
            .as_ref()
            .expect("of this form")
            .each_ref()
            .map(|field| &field.candidates[place]);
        let per_operation = |nanos: f64| nanos / work.operations() as f64;
        entry.figure = Figure {
            one: per_operation(one.nanos),
            two: Some(per_operation(two.nanos)),
            doubtful: two.is_doubtful,
            wrong: !work.holds(work.done()),
        };
    }
    Results { entries, fields }
}

/// Measures all forms in one way.
fn run(forms: &[(&'static str, Arc<Timed>)], way: Way) -> Standings {
    let compare = Compare::new()
        .time(SHARE * forms.len() as u32)
        .batch(BATCH)
        .same_within(0.01);
    let mut field = Field::new(&compare)
        .processor_time()
        .threads(forms[0].1.threads(way));
    for (how, form) in forms {
        field = form.enter(field, how, way);
    }
    field.run().expect("forms that take time")
}

fn line((_, _, title, to_floor, to_peer): &Target, results: &Results) -> String {
    let cells: Vec<_> = (0..CONTESTANTS.len())
        .map(|contestant| cell(&results.entries, contestant))
        .collect();
    let ours = best(results, |entry| entry.contestant == TALLIES);
    let floor = best(results, |entry| entry.contestant == FLOOR);
    let peer = best(results, |entry| {
        entry.contestant > TALLIES && entry.class != Class::Buffered
    });
    format!(
        "| {title} | {} | {} ({to_floor}) | {} | {} ({to_peer}) |",
        cells.join(" | "),
        quotient(results, ours, floor, ""),
        peer.map_or("–".to_owned(), |[one, two]| show(Figure {
            two: two.figure.two,
            doubtful: two.figure.doubtful,
            wrong: false,
            ..one.figure
        })),
        quotient(results, peer, ours, "×"),
    )
}

/// Formats a contestant's figures: its best form, then the README's and the buffered one.
fn cell(entries: &[Entry], contestant: usize) -> String {
    let of = |class| {
        let figures = entries
            .iter()
            .filter(move |entry| entry.contestant == contestant && entry.class == class);
        figures.min_by(|a, b| a.figure.one.total_cmp(&b.figure.one))
    };
    let parts = [
        (Class::Fastest, ""),
        (Class::Readme, "r "),
        (Class::Buffered, "b "),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .filter_map(|(class, mark)| of(class).map(|entry| format!("{mark}{}", show(entry.figure))))
        .collect();
    if parts.is_empty() {
        "–".to_owned()
    } else {
        parts.join("; ")
    }
}

/// The best at one thread and the best at two threads, possibly of different forms.
type Best<'r> = [&'r Entry; 2];

fn best(results: &Results, which: impl Fn(&Entry) -> bool) -> Option<Best<'_>> {
    let least = |time: fn(&Entry) -> f64| {
        let entries = results.entries.iter().filter(|entry| which(entry));
        entries.min_by(|a, b| time(a).total_cmp(&time(b)))
    };
    let two = |entry: &Entry| entry.figure.two.unwrap_or(entry.figure.one);
    Some([least(|entry| entry.figure.one)?, least(two)?])
}

/// Formats the ratios at one thread and at two, each with its interval, or that of bytes.
fn quotient(
    results: &Results,
    above: Option<Best<'_>>,
    below: Option<Best<'_>>,
    unit: &str,
) -> String {
    let Some((above, below)) = above.zip(below) else {
        return "–".to_owned();
    };
    let Some(fields) = &results.fields else {
        return format!("{:.2}{unit}", above[0].figure.one / below[0].figure.one);
    };
    let parts = [0, 1].map(|way| {
        let (above, below) = (above[way], below[way]);
        let places = above.place.zip(below.place).expect("of a field");
        let ratio = fields[way].ratio(places.0, places.1);
        let doubtful = way == 1 && (above.figure.doubtful || below.figure.doubtful);
        let mark = if doubtful { "~" } else { "" };
        format!("{mark}{}", show_ratio(ratio, unit))
    });
    parts.join(" / ")
}

fn show_ratio(
    Ratio {
        value, interval, ..
    }: Ratio,
    unit: &str,
) -> String {
    let interval = interval.map(|known| format!(" [{:.2}, {:.2}]", known.low, known.high));
    format!("{value:.2}{unit}{}", interval.unwrap_or_default())
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
fn note((_, name, ..): &Target, results: &Results) -> String {
    let forms = results.entries.iter().map(|entry| {
        let class = match entry.class {
            Class::Fastest => "",
            Class::Readme => " (r)",
            Class::Buffered => " (b)",
        };
        let contestant = CONTESTANTS[entry.contestant].0;
        format!("{contestant}{class} {}, {}", show(entry.figure), entry.how)
    });
    let mut forms: Vec<String> = forms.collect();
    if let Some(fields) = &results.fields {
        let control = fields
            .each_ref()
            .map(|field| show_ratio(field.control(), ""));
        forms.push(format!("control {}", control.join(" / ")));
    }
    format!("- `{name}`: {}", forms.join("; "))
}
