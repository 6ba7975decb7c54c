//! Numbers as exposition writes them.

/// Appends an integer.
#[inline(always)]
pub(super) fn integer(out: &mut Vec<u8>, n: u64) {
    integer_line(out, n);
    out.pop();
}

/// Appends an integer and a line feed.
#[inline(always)]
pub(super) fn integer_line(out: &mut Vec<u8>, n: u64) {
    const PAIRS: [[u8; 2]; 100] = {
        let mut pairs = [[0; 2]; 100];
        let mut i = 0;
        while i < 100 {
            pairs[i] = [b'0' + i as u8 / 10, b'0' + i as u8 % 10];
            i += 1;
        }
        pairs
    };
    if n < 10 {
        out.extend_from_slice(&[PAIRS[n as usize][1], b'\n']);
        return;
    }
    if n < 100 {
        let [a, b] = PAIRS[n as usize];
        out.extend_from_slice(&[a, b, b'\n']);
        return;
    }
    if n >= 100_000_000 {
        out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
        out.push(b'\n');
        return;
    }
    // Short ones, which most are, by a copy of a fixed size: no call.
    let n = n as u32;
    let [a, b, c, d] = [n / 1_000_000, n / 10_000 % 100, n / 100 % 100, n % 100];
    let mut digits = [0; 8];
    for (to, pair) in digits.chunks_exact_mut(2).zip([a, b, c, d]) {
        to.copy_from_slice(&PAIRS[pair as usize]);
    }
    let digits = u64::from_le_bytes(digits);
    let zeros = ((digits & 0x0F0F_0F0F_0F0F_0F0F | 1 << 63).trailing_zeros() / 8).min(7);
    let line = u128::from(digits >> (8 * zeros)) | u128::from(b'\n') << (64 - 8 * zeros);
    let end = out.len() + 9 - zeros as usize;
    out.extend_from_slice(&line.to_le_bytes());
    out.truncate(end);
}

/// Appends a float: the shortest digits that read back; `+Inf`, `-Inf`, `NaN`; whole numbers without a fraction.
#[inline]
pub(super) fn float(out: &mut Vec<u8>, x: f64) {
    // Exact, and by far the most common: counts and whole gauges.
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

/// A bound as a label value: it is part of a series' identity, so it is the same in every format and every scrape. In
/// the canonical form of OpenMetrics 1.0: `5.0`, `0.25`, `1e+06`, `+Inf`.
pub(super) fn bound(x: f64) -> String {
    if !x.is_finite() {
        return special(x).to_owned();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        // `Debug` of a float always shows a fraction, and between these exponents no `e`.
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

    proptest! {
        #[test]
        fn reads_back(x in any::<f64>()) {
            let same = |y: f64| y.to_bits() == x.to_bits() || (x.is_nan() && y.is_nan());
            prop_assert!(same(written(x).parse().unwrap()), "{}", written(x));
            prop_assert!(same(bound(x).parse().unwrap()), "{}", bound(x));
        }
    }
}
