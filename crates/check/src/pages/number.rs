//! Numbers: parses exactly the forms that the formats allow.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tallies::snapshot::Number;

use super::{Dialect, show};

/// Parses a value, as an integer where possible, so that counts above 2⁵³ stay exact. OpenMetrics
/// allows several spellings of infinity and NaN: those of Rust.
pub(super) fn value(text: &str, dialect: Dialect) -> Option<Number> {
    // Below this limit every whole float is an integer, and expositions write it as one.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Ok(n) = text.parse() {
        return Some(Number::Int(n));
    }
    let x = match dialect {
        Dialect::Text => canonical(text)?,
        _ => text.parse().ok()?,
    };
    // Infinity is a word, and not a number that is too large. The word for NaN has no sign.
    let is_word = text.ends_with(|c: char| c.is_ascii_alphabetic());
    if (x.is_infinite() && !is_word) || (x.is_nan() && text.starts_with(['+', '-'])) {
        return None;
    }
    let is_whole = (0.0..EXACT).contains(&x) && x.fract() == 0.0 && x.is_sign_positive();
    Some(match is_whole {
        true => Number::Int(x as u64),
        false => Number::Float(x),
    })
}

/// Converts a value to an integer, if it is one below 2⁶⁴. From 2⁵³ on, every float is whole.
pub(super) fn whole(value: Number) -> Option<u64> {
    let is_whole = |x: &f64| x.fract() == 0.0 && (0.0..18_446_744_073_709_551_616.0).contains(x);
    match value {
        Number::Int(n) => Some(n),
        Number::Float(x) => Some(x).filter(is_whole).map(|x| x as u64),
    }
}

/// Converts a value to a number of observations. Returns the error message if it is none.
pub(super) fn count(value: Number) -> Result<u64, &'static str> {
    whole(value).ok_or("a number of observations has to be an integer below 2^64")
}

/// Parses the bound of a bucket.
pub(super) fn bound(text: &str) -> Option<f64> {
    canonical(text).filter(|bound| !bound.is_nan())
}

/// Parses a quantile.
pub(super) fn quantile(text: &str) -> Option<f64> {
    canonical(text).filter(|phi| (0.0..=1.0).contains(phi))
}

/// Parses a number whose infinities and NaN have only one spelling.
fn canonical(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => real(text),
    }
}

/// Parses a word for infinity or NaN in any spelling that Prometheus takes. NaN has no sign.
pub(super) fn word(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let is_infinite = ["inf", "infinity"]
        .iter()
        .any(|word| unsigned.eq_ignore_ascii_case(word));
    match text.eq_ignore_ascii_case("nan") || is_infinite {
        true => text.parse().ok(),
        false => None,
    }
}

/// Rounds a value to a number of observations.
pub(super) fn rounded(value: Number) -> u64 {
    match value {
        Number::Int(n) => n,
        // Saturates; NaN becomes 0.
        Number::Float(x) => x.round() as u64,
    }
}

/// Parses digits with optional sign, point and exponent. Returns `None` for the words that Rust's
/// parser accepts, and for numbers that overflow a float.
pub(super) fn real(text: &str) -> Option<f64> {
    text.parse().ok().filter(|x: &f64| x.is_finite())
}

/// The first second that is not a valid time: the start of the year 10000. A later time is a
/// mistake, and a float soon could not hold it exactly.
const FIRST_INVALID_SECOND: u64 = 253_402_300_800;

/// Parses a time: milliseconds since the Unix epoch in text, seconds in OpenMetrics.
pub(super) fn time(text: &str, dialect: Dialect) -> Option<SystemTime> {
    let is_negative = text.starts_with('-');
    let since = match dialect {
        Dialect::Text if text.starts_with('+') => return None,
        Dialect::Text => Duration::from_millis(text.parse::<i64>().ok()?.unsigned_abs()),
        _ => seconds(text)?,
    };
    if since.as_secs() >= FIRST_INVALID_SECOND {
        None
    } else if is_negative {
        UNIX_EPOCH.checked_sub(since)
    } else {
        UNIX_EPOCH.checked_add(since)
    }
}

/// Parses seconds and drops the sign. Exact without an exponent: a float with the seconds of today
/// resolves only microseconds.
fn seconds(text: &str) -> Option<Duration> {
    let seconds = real(text)?.abs();
    if text.contains(['e', 'E']) || seconds >= FIRST_INVALID_SECOND as f64 {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let digits = text.trim_start_matches(['+', '-']);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos = nanos.fold(0, |all, digit| 10 * all + u32::from(digit - b'0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(Duration::new(whole.parse().ok()?, nanos))
}

/// Converts seconds since the Unix epoch to a time, to the millisecond.
pub(super) fn created(seconds: f64) -> Option<SystemTime> {
    let is_valid = (0.0..FIRST_INVALID_SECOND as f64).contains(&seconds);
    let since = || Duration::from_millis((seconds * 1000.0).round() as u64);
    is_valid.then(|| UNIX_EPOCH + since())
}

/// Returns the error message for a `text` that is not a valid `what`.
pub(super) fn describe_invalid(text: &str, what: &str) -> String {
    let right = match what {
        "number" => "digits with optional sign, point and exponent, `+Inf`, `-Inf` or `NaN`",
        "bound" => "digits with optional sign, point and exponent, or `+Inf`",
        "schema" => "an integer from -4 to 8",
        "zero threshold" => "digits with optional sign, point and exponent",
        "span offset" => "an integer, which is 0 or more in all spans but the first",
        "span length" => "an integer of 1 or more",
        "quantile" => "a number from 0 to 1",
        "timestamp in milliseconds" => "an integer number of them since 1970, up to the year 9999",
        _ => "a number of them since 1970, up to the year 9999",
    };
    match text {
        "" => format!("the {what} is missing; expected {right}"),
        _ => format!("{} is not a {what}; expected {right}", show(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_forms_and_no_others() {
        for (text, x) in [
            ("0", 0.0),
            ("007", 7.0),
            ("+1", 1.0),
            ("-1.5", -1.5),
            ("1.", 1.0),
            (".5", 0.5),
            ("1e3", 1000.0),
            ("1E+03", 1000.0),
            ("1.5e-3", 0.0015),
            ("-0", -0.0),
            ("5e-324", 5e-324),
            ("+Inf", f64::INFINITY),
            ("-Inf", f64::NEG_INFINITY),
        ] {
            for dialect in [Dialect::Text, Dialect::OpenMetrics] {
                assert_eq!(value(text, dialect).map(Number::as_f64), Some(x), "{text}");
            }
        }
        for bad in [
            "", ".", "+", "-", "e5", "1e", "1e+", "1.5.2", "0x1p3", "1_000", "1,5", " 1", "1 ",
            "١", "1e999", "--1", "+-1", "nan1", "Info", "+NaN",
        ] {
            for dialect in [Dialect::Text, Dialect::OpenMetrics] {
                assert_eq!(value(bad, dialect), None, "{bad:?}");
            }
        }
        for (text, x) in [
            ("inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
            ("+infinity", f64::INFINITY),
        ] {
            assert_eq!(value(text, Dialect::OpenMetrics), Some(Number::Float(x)));
            assert_eq!(value(text, Dialect::Text), None, "{text}");
            assert_eq!(bound(text), None, "{text}");
        }
        assert!(value("nan", Dialect::OpenMetrics).is_some_and(|x| x.as_f64().is_nan()));
        assert_eq!(value("nan", Dialect::Text), None);
    }

    #[test]
    fn whole_numbers_stay_exact() {
        for (text, n) in [
            ("18446744073709551615", Number::Int(u64::MAX)),
            ("1e+06", Number::Int(1_000_000)),
            ("3.0", Number::Int(3)),
            (
                "18446744073709551616",
                Number::Float(18_446_744_073_709_551_616.0),
            ),
            ("0.5", Number::Float(0.5)),
        ] {
            assert_eq!(value(text, Dialect::Text), Some(n), "{text}");
        }
    }

    #[test]
    fn times() {
        let after = |millis| Some(UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(time("1500", Dialect::Text), after(1500));
        assert_eq!(time("1.5", Dialect::OpenMetrics), after(1500));
        assert_eq!(
            time("1700000000.123", Dialect::OpenMetrics),
            after(1_700_000_000_123)
        );
        assert_eq!(
            time("-1", Dialect::OpenMetrics),
            UNIX_EPOCH.checked_sub(Duration::from_secs(1))
        );
        assert_eq!(
            time("200000000000.001", Dialect::OpenMetrics),
            after(200_000_000_000_001)
        );
        assert_eq!(time("1.5e3", Dialect::OpenMetrics), after(1_500_000));
        assert_eq!(time(".5", Dialect::OpenMetrics), after(500));
        assert_eq!(created(1.5), after(1500));
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e12] {
            assert_eq!(created(bad), None, "{bad}");
        }
        for bad in [
            "",
            "1.5",
            "1e3",
            "+1",
            "NaN",
            "9223372036854775808",
            "-9223372036854775808",
        ] {
            assert_eq!(time(bad, Dialect::Text), None, "{bad:?}");
        }
        for bad in ["", "NaN", "+Inf", "1e300", "253402300800", "x"] {
            assert_eq!(time(bad, Dialect::OpenMetrics), None, "{bad:?}");
        }
    }
}
