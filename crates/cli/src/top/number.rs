//! Numbers for people.

use std::time::{Duration, UNIX_EPOCH};

/// Units of numbers: from which size on each is used, its own size, and its sign.
type Units = [(f64, f64, &'static str)];

const PLAIN: &Units = &[
    (1e15, 1e15, "P"),
    (1e12, 1e12, "T"),
    (1e9, 1e9, "G"),
    (1e6, 1e6, "M"),
    (1e4, 1e3, "k"),
    (0.0, 1.0, ""),
];

const SECONDS: &Units = &[
    (86_400.0, 86_400.0, " d"),
    (600.0, 60.0, " min"),
    (1.0, 1.0, " s"),
    (1e-3, 1e-3, " ms"),
    (1e-6, 1e-6, " µs"),
    (0.0, 1e-9, " ns"),
];

/// Writes a number with about four digits, in the largest unit that it reaches.
fn scaled(x: f64, units: &Units) -> String {
    let unit = units.iter().find(|(from, ..)| x.abs() >= *from);
    let (_, size, sign) = unit.unwrap_or(&(0.0, 1.0, ""));
    let x = x / size;
    match x.abs() {
        100.0.. => format!("{x:.1}{sign}"),
        1.0.. => format!("{x:.2}{sign}"),
        _ => format!("{x:.4}{sign}"),
    }
}

/// Writes a number with about four digits. Whole numbers up to ten million are exact.
pub fn plain(x: f64) -> String {
    match x.abs() {
        _ if x.is_nan() => "–".to_owned(),
        f64::INFINITY => if x > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
        ..1e7 if x.fract() == 0.0 => format!("{x:.0}"),
        1e18.. => format!("{x:.3e}"),
        ..1e-3 => format!("{x:.2e}"),
        _ => scaled(x, PLAIN),
    }
}

/// Writes a value in the unit that the end of a family's name says: time and bytes.
pub fn with_unit(x: f64, family: &str) -> String {
    let stem = family.trim_end_matches("_total").trim_end_matches("_sum");
    if !x.is_finite() || x == 0.0 {
        return plain(x);
    }
    if stem.ends_with("_timestamp_seconds") || stem.ends_with("_time_seconds") {
        // A point in time.
        let is_date = (1e8..1e11).contains(&x);
        return if is_date { date(x) } else { plain(x) };
    }
    if stem.ends_with("seconds") {
        return scaled(x, SECONDS);
    }
    if stem.ends_with("bytes") {
        let units = ["B", "KiB", "MiB", "GiB", "TiB"];
        let power = (x.abs().log2() / 10.0).clamp(0.0, 4.0) as usize;
        let scaled = plain(x / 1024_f64.powi(power as i32));
        return format!("{scaled} {}", units[power]);
    }
    plain(x)
}

/// Writes seconds since 1970 as date and time, in UTC.
fn date(seconds: f64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs_f64(seconds);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    // Without the `T` between them, and without seconds.
    text[..16].replace('T', " ") + "Z"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_time_is_a_date() {
        let text = |x| with_unit(x, "process_start_time_seconds");
        assert_eq!(text(1_795_356_721.5), "2026-11-22 14:12Z");
        assert_eq!(text(951_782_400.0), "2000-02-29 00:00Z");
        assert_eq!(text(1_704_067_199.0), "2023-12-31 23:59Z");
        // A duration that is called so.
        assert_eq!(text(12.0), "12");
    }
}
