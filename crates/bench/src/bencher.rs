//! Results in the Bencher Metric Format, the JSON that bencher.dev tracks.

use std::collections::BTreeMap;

use serde::Serialize;

/// A value of the measure `latency`, in nanoseconds.
#[derive(Serialize)]
pub(crate) struct Nanoseconds {
    pub(crate) value: f64,
    #[serde(rename = "lower_value", skip_serializing_if = "Option::is_none")]
    pub(crate) lower: Option<f64>,
    #[serde(rename = "upper_value", skip_serializing_if = "Option::is_none")]
    pub(crate) upper: Option<f64>,
}

/// Returns one object with a benchmark for each name.
pub(crate) fn object(latencies: impl IntoIterator<Item = (String, Nanoseconds)>) -> String {
    let benchmarks: BTreeMap<_, _> = latencies
        .into_iter()
        .map(|(name, latency)| (name, BTreeMap::from([("latency", latency)])))
        .collect();
    serde_json::to_string(&benchmarks).expect("numbers and text have a form in JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_is_not_known_is_left_out() {
        let latency = |lower, upper| Nanoseconds {
            value: 2.5,
            lower,
            upper,
        };
        let all = [
            ("b \"2\"".to_owned(), latency(None, None)),
            ("a".to_owned(), latency(Some(2.0), Some(3.0))),
        ];
        assert_eq!(
            object(all),
            r#"{"a":{"latency":{"value":2.5,"lower_value":2.0,"upper_value":3.0}},"b \"2\"":{"latency":{"value":2.5}}}"#
        );
        assert_eq!(object([]), "{}");
    }
}
