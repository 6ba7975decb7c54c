//! Numbers as expositions write them.

/// Appends an integer.
#[inline(always)]
pub(super) fn integer(out: &mut Vec<u8>, n: u64) {
    integer_line(out, n);
    out.pop();
}

/// Appends an integer and a line feed.
#[inline(always)]
pub(super) fn integer_line(out: &mut Vec<u8>, n: u64) {
    if n < 10 {
        out.extend_from_slice(&[b'0' + n as u8, b'\n']);
        return;
    }
    if n < 100 {
        let n = n as u8;
        out.extend_from_slice(&[b'0' + n / 10, b'0' + n % 10, b'\n']);
        return;
    }
    if n >= 100_000_000 {
        out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
        out.push(b'\n');
        return;
    }
    // Most numbers are shorter than this. Their digits are computed side by side in one word and
    // appended by one copy of a fixed size: no table, loop or call. The number is split into groups
    // of four digits, each group into pairs, each pair into digits, all groups at once. Multiplying
    // by 10 486 / 2^20 divides by 100, and multiplying by 103 / 2^10 divides by 10; both are
    // accurate enough for values below 10 000 and 100.
    let fours = (n / 10_000) | ((n % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x7F_0000_007F;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((twos * 103) >> 10) & 0x000F_000F_000F_000F;
    let digits = tens | (twos - 10 * tens) << 8;
    let zeros = (digits | 1 << 63).trailing_zeros() / 8;
    let digits = (digits | u64::from_ne_bytes([b'0'; 8])) >> (8 * zeros);
    let line = u128::from(digits) | u128::from(b'\n') << (64 - 8 * zeros);
    let end = out.len() + 9 - zeros as usize;
    out.extend_from_slice(&line.to_le_bytes());
    out.truncate(end);
}

/// Appends a float with the fewest digits that parse back to it. Whole numbers have no fraction;
/// other forms are `+Inf`, `-Inf` and `NaN`.
#[inline]
pub(super) fn float(out: &mut Vec<u8>, x: f64) {
    // Integers that a float holds exactly: counts and whole gauges, by far the most common values.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if x > -EXACT && x < EXACT && (x as i64) as f64 == x && !(x == 0.0 && x.is_sign_negative()) {
        out.extend_from_slice(itoa::Buffer::new().format(x as i64).as_bytes());
    } else if x.is_finite() {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(x);
        out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
    } else {
        out.extend_from_slice(special(x).as_bytes());
    }
}

/// Formats a bucket bound or a quantile as a label value, in the canonical form of OpenMetrics 1.0:
/// `5.0`, `0.25`, `1e+06`, `+Inf`. The label identifies the series, so its text is the same in
/// every format and every scrape.
pub(super) fn bound(x: f64) -> String {
    if !x.is_finite() {
        return special(x).to_owned();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        // `Debug` always writes a fraction, and never an exponent in this range.
        format!("{x:?}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.abs())
    }
}

fn special(x: f64) -> &'static str {
    if x.is_nan() {
        "NaN"
    } else if x > 0.0 {
        "+Inf"
    } else {
        "-Inf"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(x: f64) -> String {
        let mut out = Vec::new();
        float(&mut out, x);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats() {
        for (x, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-3.0, "-3"),
            (0.1, "0.1"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (1e17, "1e+17"),
            (-1e17, "-1e+17"),
        ] {
            assert_eq!(written(x), text);
        }
    }

    #[test]
    fn bounds() {
        for (x, text) in [
            (5.0, "5.0"),
            (0.005, "0.005"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (100_000.0, "100000.0"),
            (1e6, "1e+06"),
            (1.5e21, "1.5e+21"),
            (-2.5, "-2.5"),
            (0.0, "0.0"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(bound(x), text);
        }
    }

    /// Covers every length, and each pair of digits at each position in the word.
    #[test]
    fn integers() {
        let mut out = Vec::new();
        let mut check = |n: u64| {
            out.clear();
            integer(&mut out, n);
            assert_eq!(str::from_utf8(&out), Ok(&*n.to_string()));
            integer_line(&mut out, n);
            assert_eq!(str::from_utf8(&out), Ok(&*format!("{n}{n}\n")));
        };
        let pairs = if cfg!(miri) { 0..3 } else { 0..10_000 };
        for pair in pairs {
            let places = [1, 100, 10_000].map(|place| pair * place);
            places.into_iter().for_each(&mut check);
            check(pair * 10_000 + 9_999 - pair);
        }
        for power in 0..20 {
            let n = 10_u64.pow(power);
            [n - 1, n, n + 1].into_iter().for_each(&mut check);
        }
        check(u64::MAX);
    }

    proptest! {
        #[test]
        fn reads_back(x in any::<f64>()) {
            let same = |y: f64| y.to_bits() == x.to_bits() || (x.is_nan() && y.is_nan());
            prop_assert!(same(written(x).parse().unwrap()), "{}", written(x));
            prop_assert!(same(bound(x).parse().unwrap()), "{}", bound(x));
        }
    }
}
