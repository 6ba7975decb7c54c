//! Comparisons on a page: one chart with a row for each bench, and the numbers of the text.

use super::report::{Candidate, Difference, Nanos, Report};
use super::stats::Interval;
use crate::build::Build;
use crate::machine::Machine;
use crate::page::Section;
use crate::page::plot::{Axis, Plot};

/// The height of a row.
const ROW: f64 = 38.0;

/// The lines of the legend, by class.
const LEGEND: [(&str, &str); 4] = [
    ("same", "new against old"),
    ("control", "control, a copy of old"),
    ("within", "counts as the same"),
    ("limit", "limit"),
];

pub(crate) fn section(reports: &[Report]) -> Section {
    let limited = reports.iter().any(|report| report.fail_above.is_some());
    let legend = &LEGEND[..if limited { 4 } else { 3 }];
    let rows = reports.iter().map(|report| {
        let old = Nanos(report.old_nanos);
        vec![
            report.name.clone(),
            report.verdict.to_string(),
            Difference(report.effect, report.interval).to_string(),
            Difference(report.control, report.control_interval).to_string(),
            old.to_string(),
            Nanos(report.new_nanos).as_of(&old),
        ]
    });
    let amounts = reports.iter().map(|report| {
        let difference = |bootstrap| Difference(report.effect, Some(bootstrap)).to_string();
        let bootstrap = report.bootstrap.map(difference);
        let instructions = report.instructions().map(|text| text + "; ");
        let instructions = instructions.unwrap_or_default();
        vec![
            report.name.clone(),
            bootstrap.unwrap_or_default(),
            instructions + &report.amount(),
        ]
    });
    let once = "difference by bootstrap, if looked at once";
    let mut notes: Vec<String> = Vec::new();
    for note in reports.iter().flat_map(Report::notes) {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    let machine = Machine::of_all(reports.iter().map(|report| &report.machine));
    Section::new("New against old")
        .notes(&notes)
        .chart("Difference in time per iteration", legend, chart(reports))
        .table(
            &["bench", "verdict", "difference", "control", "old", "new"],
            rows,
        )
        .table(&["bench", once, "measured"], amounts)
        .facts(&facts(reports), machine.as_ref())
}

/// The candidates and the settings. Reports of several comparisons may differ in each of these.
fn facts(reports: &[Report]) -> Vec<(&'static str, String)> {
    let all = |of: &dyn Fn(&Report) -> String| {
        let mut texts: Vec<String> = reports.iter().map(of).collect();
        texts.dedup();
        texts.join("; ")
    };
    let seconds: f64 = reports.iter().map(|report| report.seconds).sum();
    let build = |of: fn(&Report) -> &Candidate, what: fn(&Build) -> String| {
        all(&|report| {
            of(report)
                .build
                .as_ref()
                .map_or_else(|| "unknown".to_owned(), what)
        })
    };
    // Both are the same, nearly always.
    let both = |what: fn(&Build) -> String| {
        let [old, new] = [
            build(|report| &report.old, what),
            build(|report| &report.new, what),
        ];
        match old == new {
            true => new,
            false => format!("old: {old}; new: {new}"),
        }
    };
    if reports.is_empty() {
        return Vec::new();
    }
    vec![
        ("old", all(&|report| report.old.name.clone())),
        ("new", all(&|report| report.new.name.clone())),
        ("options", all(&|report| report.options.clone())),
        ("duration", format!("{seconds:.1} s")),
        ("compiler", both(|build| build.compiler.clone())),
        ("profile", both(Build::profile)),
    ]
}

fn chart(reports: &[Report]) -> Plot {
    let ends = |interval: Option<Interval>| interval.map(|it| (it.low, it.high));
    let all = reports.iter().flat_map(|report| {
        let intervals = [ends(report.interval), ends(report.control_interval)];
        let intervals = intervals.into_iter().flatten();
        let within = report.same_within;
        intervals
            .chain([(report.effect, report.control), (-within, within)])
            .chain(report.fail_above.map(|limit| (0.0, limit)))
            .flat_map(|(low, high)| [low, high])
    });
    let x = Axis::linear(all, "time of new, relative to old", percent);
    let y = Axis::rows(reports.iter().map(|report| report.name.as_str()));
    let mut plot = Plot::new(x, y, ROW * reports.len().max(1) as f64, 90.0);
    for (report, row) in reports.iter().zip((0..reports.len()).rev()) {
        let (bottom, top) = (row as f64, row as f64 + 1.0);
        let across = |y| [(-report.same_within, y), (report.same_within, y)];
        plot.band("within", &across(bottom), &across(top));
        plot.line("zero", &[(0.0, bottom), (0.0, top)]);
        if let Some(limit) = report.fail_above {
            plot.line("limit", &[(limit, bottom), (limit, top)]);
        }
        let verdict = report.verdict.to_string();
        plot.interval(
            &verdict,
            bottom + 0.65,
            report.effect,
            ends(report.interval),
        );
        let control = ends(report.control_interval);
        plot.interval("control", bottom + 0.3, report.control, control);
        plot.beside(&format!("verdict {verdict}"), bottom + 0.5, &verdict);
    }
    plot
}

/// `+2.5 %` for 0.025.
fn percent(difference: f64) -> String {
    match (difference * 1e6).round() / 1e4 {
        0.0 => "0".to_owned(),
        percent => format!("{percent:+} %"),
    }
}
