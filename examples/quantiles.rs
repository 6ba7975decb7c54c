//! Prints quantiles of numbers, one per line, read from standard input or from files with one
//! thread per file.
//!
//! ```sh
//! seq 1 1000000 | cargo run --release --example quantiles
//! cargo run --release --example quantiles -- \
//!     --json --targets 0.5:0.01,0.999:0.0001 one.txt two.txt
//! tail -f latencies.txt | cargo run --release --example quantiles -- --max-age 60
//! ```

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use tallies::{Registry, Summary};

/// Prints quantiles of numbers, one per line, each with its certified rank error.
#[derive(Parser)]
struct Options {
    /// Files to read, each on a thread of its own; reads standard input if there are none.
    files: Vec<PathBuf>,
    /// Quantiles and their allowed rank errors.
    #[arg(long, value_delimiter = ',', value_parser = pair, default_value = "0.5:0.05,0.9:0.01,0.99:0.001")]
    targets: Vec<(f64, f64)>,
    /// Compute quantiles from the numbers of the last SECONDS only; count and sum still cover all
    /// input.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    max_age: Option<Duration>,
    /// Print JSON; infinities and NaN become null.
    #[arg(long)]
    json: bool,
}

fn pair(text: &str) -> Result<(f64, f64), String> {
    let (phi, error) = text
        .split_once(':')
        .ok_or("a pair is QUANTILE:ERROR, as in 0.99:0.001")?;
    let number = |text: &str| text.parse().map_err(|e| format!("`{text}`: {e}"));
    Ok((number(phi)?, number(error)?))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("`{text}`: {e}"))?;
    Duration::try_from_secs_f64(seconds).map_err(|e| format!("`{text}` seconds: {e}"))
}

/// Formats a number as JSON, which has no infinities and no NaN.
fn json(number: f64) -> String {
    if number.is_finite() {
        number.to_string()
    } else {
        "null".to_owned()
    }
}

fn observe(summary: &Summary, from: impl BufRead, name: &str) -> Result<(), String> {
    let mut from = from;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if from
            .read_until(b'\n', &mut line)
            .map_err(|e| format!("{name}: {e}"))?
            == 0
        {
            break;
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let value = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| {
                format!(
                    "{name}, line {number}: `{}` is not a number",
                    text.escape_ascii()
                )
            })?;
        summary.observe(value);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let registry = Registry::new();
    let mut summary = Summary::builder("numbers", "Numbers read.").objectives(&options.targets)?;
    if let Some(max_age) = options.max_age {
        summary = summary.max_age(max_age);
    }
    let summary = summary.register(&registry)?;
    if options.files.is_empty() {
        observe(&summary, std::io::stdin().lock(), "standard input")?;
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = options
            .files
            .iter()
            .map(|path| {
                let summary = &summary;
                scope.spawn(move || {
                    let name = path.display().to_string();
                    let file = std::fs::File::open(path).map_err(|e| format!("{name}: {e}"))?;
                    observe(summary, BufReader::with_capacity(1 << 16, file), &name)
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err("a thread panicked".to_owned()))
        })
    })?;
    let seen = summary.get();
    let answers: Vec<_> = options
        .targets
        .iter()
        .map(|(phi, _)| (*phi, seen.quantile(*phi)))
        .collect();
    if options.json {
        let object = |of: fn((f64, f64)) -> f64| {
            let parts: Vec<_> = answers
                .iter()
                .map(|(phi, answer)| format!("\"{phi}\":{}", json(answer.map_or(f64::NAN, of))))
                .collect();
            parts.join(",")
        };
        println!(
            "{{\"count\":{},\"sum\":{},\"quantiles\":{{{}}},\"certified\":{{{}}}}}",
            seen.count(),
            json(seen.sum()),
            object(|(value, _)| value),
            object(|(_, error)| error),
        );
    } else {
        println!("count {}\nsum {}", seen.count(), seen.sum());
        for (phi, answer) in answers {
            match answer {
                Some((value, error)) => println!("{phi} {value} (rank error at most {error:.6})"),
                None => println!("{phi} NaN"),
            }
        }
    }
    Ok(())
}
