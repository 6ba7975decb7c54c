//! The report as Markdown, printed as it is measured.

use crate::beside;
use crate::crew::Figure;
use crate::lines::Lines;
use crate::machine::Machine;
use crate::many::Many;
use crate::updates::Row;
use crate::{Plan, Report};

pub fn head(machine: &Machine, plan: &Plan, seconds: f64) {
    let Machine {
        processors,
        cores,
        packages,
        ..
    } = machine;
    let unknown = || "unknown".to_owned();
    println!("# Scaling\n");
    println!("- {}, tallies {}", machine.date, machine.build);
    println!(
        "- {}{}: {} processors on {cores} cores, {packages} packages, NUMA nodes {}",
        machine.processor.clone().unwrap_or_else(unknown),
        if machine.is_virtual { ", virtual" } else { "" },
        processors.len(),
        machine.nodes.clone().unwrap_or_else(unknown),
    );
    println!("- {}", machine.caches.join(", "));
    println!(
        "- Linux {}, {}, load {}",
        machine.kernel.clone().unwrap_or_else(unknown),
        if machine.is_pinned {
            "threads pinned, one of each core first"
        } else {
            "**not pinned**"
        },
        machine.load.clone().unwrap_or_else(unknown),
    );
    println!(
        "- {seconds} s for each figure, in {} rounds in turn with the others. The C library's \
         functions and its allocator are in the program, the same for all.",
        plan.rounds,
    );
    for threads in &plan.threads {
        if *threads > processors.len() {
            println!(
                "- **{threads} threads share {} processors**: that column shows the scheduler.",
                processors.len()
            );
        } else if *threads > *cores {
            println!("- {threads} threads share {cores} cores: some cores run two.");
        }
    }
}

pub fn lines(lines: &Lines) {
    println!("\n## Cache lines, ns\n\n| | ns |\n|---|---|");
    println!(
        "| update of an own word: load, add, store | {:.2} |",
        lines.own_store
    );
    println!("| `fetch_add` of an own word | {:.2} |", lines.own_exchange);
    println!(
        "| reading a line that this processor wrote last | {:.2} |",
        lines.read_own
    );
    type Of = fn(&crate::lines::Pair) -> f64;
    let of: [(&str, Of); 2] = [
        (
            "a line from one processor to another (half a ping-pong)",
            |pair| pair.transfer,
        ),
        (
            "reading one of 2 048 lines that another processor wrote last",
            |pair| pair.read,
        ),
    ];
    for (name, of) in of {
        let mut times: Vec<f64> = lines.pairs.iter().map(of).collect();
        times.sort_by(f64::total_cmp);
        let [Some(least), Some(most)] = [times.first(), times.last()] else {
            continue;
        };
        println!(
            "| {name}; median of {} pairs, least, most | {:.1}, {least:.1}, {most:.1} |",
            times.len(),
            times[times.len() / 2],
        );
    }
}

pub fn updates(rows: &[Row], threads: &[usize]) {
    if rows.is_empty() {
        return;
    }
    println!(
        "\n## Updates\n\nNanoseconds per update of each thread, all threads on the same metric: \
         median, half of the range; in parentheses millions of updates per second of all threads. \
         `~`: threads waited for a processor, so contention is understated.\n"
    );
    let columns: Vec<_> = threads.iter().map(|n| format!("{n} threads |")).collect();
    println!("| operation | by | {}", columns.join(" "));
    println!("|---|---|{}", "---|".repeat(threads.len()));
    for row in rows {
        let cells: Vec<_> = row
            .figures
            .iter()
            .map(|of| format!("{} |", full(of)))
            .collect();
        let wrong = if row.is_wrong {
            " **wrong result**"
        } else {
            ""
        };
        println!(
            "| {} | {}: {}{wrong} | {}",
            row.operation,
            row.contestant,
            row.how,
            cells.join(" ")
        );
    }
}

pub fn scrapes(rows: &[beside::Row]) {
    if rows.is_empty() {
        return;
    }
    println!(
        "\n## Scrapes beside updates\n\nAll threads update 1 000 series in turn through handles. \
         Updates: ns of each thread. Scrapes: µs from start to end, in parentheses of processor \
         time; *first*: after the updates, which have ended; *repeated*: without a pause, while all \
         threads update.\n"
    );
    println!(
        "| operation | by | threads | update alone | beside 10 scrapes a second | beside scrapes without a pause | first scrape | repeated scrapes |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for row in rows {
        let [first, repeated] =
            [row.first, row.repeated].map(|of| format!("{:.0} ({:.0})", of.time, of.work));
        let [alone, some, many] = [&row.alone, &row.beside_some, &row.beside_many].map(short);
        println!(
            "| {} | {} | {} | {alone} | {some} | {many} | {first} | {repeated} |",
            row.operation, row.contestant, row.threads
        );
    }
}

pub fn many(many: Option<&Many>) {
    let Some(many) = many else { return };
    println!(
        "\n## Many threads\n\n{} threads, {} series by look-up, 200 times each: {:.1} ns of each \
         processor per update, {:.1} kB per thread, {:.0} µs per scrape.",
        many.threads,
        many.series,
        many.ns,
        many.bytes_per_thread / 1e3,
        many.scrape
    );
}

pub fn foot(report: &Report) {
    if let Some(stolen) = report.stolen {
        println!("\nThe hypervisor took {stolen:.1} % of all processors' time during this run.");
    }
}

fn short(figure: &Figure) -> String {
    let mark = if figure.is_clean { "" } else { "~" };
    format!(
        "{mark}{} ± {:.0} %",
        round(figure.ns),
        100.0 * figure.spread
    )
}

fn full(figure: &Figure) -> String {
    format!("{} ({})", short(figure), round(figure.mops))
}

/// Three digits.
fn round(number: f64) -> String {
    let digits = match number {
        n if n < 10.0 => 2,
        n if n < 100.0 => 1,
        _ => 0,
    };
    format!("{number:.digits$}")
}
