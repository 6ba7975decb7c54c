//! Numbers for people.

/// Writes a number with about four digits. Whole numbers up to ten million are exact.
pub fn plain(x: f64) -> String {
    let size = x.abs();
    if x.is_nan() {
        return "–".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if size < 1e7 && x.fract() == 0.0 {
        return format!("{x:.0}");
    }
    let (scaled, suffix) = match size {
        _ if size >= 1e18 => return format!("{x:.3e}"),
        _ if size >= 1e15 => (x / 1e15, "P"),
        _ if size >= 1e12 => (x / 1e12, "T"),
        _ if size >= 1e9 => (x / 1e9, "G"),
        _ if size >= 1e6 => (x / 1e6, "M"),
        _ if size >= 1e4 => (x / 1e3, "k"),
        _ if size < 1e-3 => return format!("{x:.2e}"),
        _ => (x, ""),
    };
    format!("{}{suffix}", digits(scaled))
}

fn digits(x: f64) -> String {
    match x.abs() {
        size if size >= 100.0 => format!("{x:.1}"),
        size if size >= 1.0 => format!("{x:.2}"),
        _ => format!("{x:.4}"),
    }
}

/// Writes a value in the unit that the end of a family's name says: time and bytes.
pub fn with_unit(x: f64, family: &str) -> String {
    let stem = family.trim_end_matches("_total").trim_end_matches("_sum");
    if !x.is_finite() || x == 0.0 {
        return plain(x);
    }
    let size = x.abs();
    if is_time(stem) {
        return if (1e8..1e11).contains(&x) {
            date(x)
        } else {
            plain(x)
        };
    }
    if stem.ends_with("seconds") {
        return match size {
            _ if size < 1e-6 => format!("{} ns", digits(x * 1e9)),
            _ if size < 1e-3 => format!("{} µs", digits(x * 1e6)),
            _ if size < 1.0 => format!("{} ms", digits(x * 1e3)),
            _ if size < 600.0 => format!("{} s", digits(x)),
            _ if size < 86_400.0 => format!("{} min", digits(x / 60.0)),
            _ => format!("{} d", digits(x / 86_400.0)),
        };
    }
    if stem.ends_with("bytes") {
        let units = ["B", "KiB", "MiB", "GiB", "TiB"];
        let power = (size.log2() / 10.0).clamp(0.0, 4.0) as usize;
        return format!(
            "{} {}",
            plain(x / 1024_f64.powi(power as i32)),
            units[power]
        );
    }
    plain(x)
}

/// Returns whether the values of this family are points in time.
pub fn is_time(family: &str) -> bool {
    family.ends_with("_timestamp_seconds") || family.ends_with("_time_seconds")
}

/// Writes seconds since 1970 as date and time, in UTC.
fn date(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Years of this count begin in March, so that a leap day is the last one. Eras have 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute) = (time / 3600, time / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}Z")
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
