//! The cost of updates and scrapes at one thread, at two, and so on up to all processors: tallies,
//! its peers and code by hand. `benches/scaling.sh` builds it as one static program.

mod beside;
mod crew;
mod lines;
mod machine;
mod many;
mod print;
mod updates;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use peers::memory::Counting;
use serde::Serialize;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Prints what an update and a scrape cost at any number of threads, as a table in Markdown.
#[derive(Parser)]
#[command(name = "scaling", version)]
struct Args {
    /// Numbers of threads, such as `1,2,16`; all powers of two and all processors if absent.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,
    /// Seconds for each figure, over all its rounds.
    #[arg(long, default_value_t = 0.5, value_parser = seconds)]
    seconds: f64,
    /// Rounds: each measures every figure once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only operations whose names contain one of these texts, such as `counter,scrape`.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Writes the figures of every round to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.001..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("should be a number from 0.001 to 3600".to_owned()),
    }
}

/// How each figure is measured.
struct Plan {
    /// Numbers of threads, each once, ascending.
    threads: Vec<usize>,
    rounds: u32,
    round: Duration,
    only: Vec<String>,
}

impl Plan {
    fn wants(&self, operation: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| operation.contains(&**part))
    }
}

/// All that a run measured.
#[derive(Serialize)]
struct Report {
    machine: machine::Machine,
    seconds: f64,
    rounds: u32,
    threads: Vec<usize>,
    lines: lines::Lines,
    updates: Vec<updates::Row>,
    scrapes: Vec<beside::Row>,
    many_threads: Option<many::Many>,
    /// Processor time that the hypervisor took from this machine meanwhile, in percent.
    stolen: Option<f64>,
}

fn main() {
    let args = Args::parse();
    let processors = machine::processors();
    let mut threads: Vec<usize> = args.threads.iter().map(|n| usize::from(*n)).collect();
    if threads.is_empty() {
        let powers = (0..).map(|n| 1 << n);
        threads = powers.take_while(|n| *n < processors.len()).collect();
        threads.push(processors.len());
    }
    threads.sort_unstable();
    threads.dedup();
    let plan = Plan {
        round: Duration::from_secs_f64(args.seconds / f64::from(args.rounds)),
        threads,
        rounds: args.rounds,
        only: args.only,
    };
    let before = machine::times();
    let machine = machine::Machine::of(&processors);
    print::head(&machine, &plan, args.seconds);
    let lines = lines::measure(&processors);
    print::lines(&lines);
    let most = *plan.threads.last().expect("at least one");
    let crew = crew::Crew::start(most, &processors);
    // First: later, the threads' memory would be large enough for the series of all the others.
    let many_threads = plan.wants("many threads").then(|| many::measure(500));
    let updates = updates::measure(&crew, &plan);
    print::updates(&updates, &plan.threads);
    let scrapes = beside::measure(&crew, &plan);
    print::scrapes(&scrapes);
    print::many(many_threads.as_ref());
    let report = Report {
        stolen: machine::stolen(before),
        machine,
        seconds: args.seconds,
        rounds: plan.rounds,
        threads: plan.threads,
        lines,
        updates,
        scrapes,
        many_threads,
    };
    print::foot(&report);
    if let Some(path) = args.json {
        let json = serde_json::to_vec_pretty(&report).expect("numbers and texts");
        if let Err(e) = std::fs::write(&path, json) {
            eprintln!("{}: {e}", path.display());
            std::process::exit(1);
        }
    }
}
