//! Tests of OpenMetrics 2.0 pages that the reader rejects.

use super::{read_open_metrics_2, refused};

#[track_caller]
fn all(family: &str, cases: &[(&str, &str)]) {
    for (sample, error) in cases {
        let page = format!("{family}{sample}\n# EOF\n");
        refused(read_open_metrics_2(&page), &page, error);
    }
}

#[test]
fn fields_that_are_not_those_of_a_histogram() {
    all(
        "# TYPE h histogram\n",
        &[
            (
                "h 1",
                "line 2, column 3: found a number; histogram `h` needs the fields of a histogram",
            ),
            (
                "h {}",
                "line 2, column 3: found `{}`; `{count:` is expected",
            ),
            (
                "h {sum:1,count:1,bucket:[+Inf:1]}",
                "line 2, column 3: found `{sum:1,count:1,bucket:[+Inf:1]}`; `{count:` is expected",
            ),
            (
                "h {count:1,bucket:[+Inf:1]}",
                "line 2, column 11: found `,bucket:[+Inf:1]}`; `,sum:` is expected",
            ),
            (
                "h {count:1,sum:1}",
                "line 2, column 17: found `}`; `,bucket:[`, `,schema:` or `,quantile:[` is expected",
            ),
            (
                "h {count:1,sum:1,bucket:[]}",
                "line 2, column 1: series {} of histogram `h` has no bucket `le=\"+Inf\"`",
            ),
            (
                "h {count:1,sum:1,bucket:[1:1]}",
                "line 2, column 1: series {} of histogram `h` has no bucket `le=\"+Inf\"`",
            ),
            (
                "h {count:1,sum:1,bucket:[+Inf:1,1:1]}",
                "line 2, column 33: 1 follows inf; bounds and quantiles have to ascend",
            ),
            (
                "h {count:1,sum:1,bucket:[1:1,1.0:1,+Inf:1]}",
                "line 2, column 30: this bound or quantile is given twice",
            ),
            (
                "h {count:1,sum:1,bucket:[NaN:1,+Inf:1]}",
                "line 2, column 26: `NaN` is not a bound; expected digits with optional sign, point and exponent, or `+Inf`",
            ),
            (
                "h {count:1,sum:1,bucket:[inf:1]}",
                "line 2, column 26: `inf` is not a bound; expected digits with optional sign, point and exponent, or `+Inf`",
            ),
            (
                "h {count:1,sum:1,bucket:[1:2,+Inf:1]}",
                "line 2, column 35: found 1; the bucket before has 2, and the counts of buckets are cumulative",
            ),
            (
                "h {count:2,sum:1,bucket:[+Inf:1]}",
                "line 2, column 1: series {} of histogram `h` has a count of 2 and 1 in all buckets",
            ),
            (
                "h {count:0.5,sum:1,bucket:[+Inf:0.5]}",
                "line 2, column 10: found 0.5; a number of observations has to be an integer below 2^64",
            ),
            (
                "h {count:1,sum:1,bucket:[0.5:0.5,+Inf:1]}",
                "line 2, column 30: found 0.5; a number of observations has to be an integer below 2^64",
            ),
            (
                "h {count:x,sum:1,bucket:[+Inf:1]}",
                "line 2, column 10: `x` is not a number; expected digits with optional sign, point and exponent, `+Inf`, `-Inf` or `NaN`",
            ),
            (
                "h {count:1,sum:,bucket:[+Inf:1]}",
                "line 2, column 16: the number is missing; expected digits with optional sign, point and exponent, `+Inf`, `-Inf` or `NaN`",
            ),
            (
                "h {count:1, sum:1,bucket:[+Inf:1]}",
                "line 2, column 11: found `, sum:1,bucket:[+Inf:1]}`; `,sum:` is expected",
            ),
            (
                "h {count:1,sum:1,bucket:[+Inf:1]",
                "line 2, column 33: the line ends; `}` is expected",
            ),
            (
                "h {count:1,sum:1,bucket:[+Inf:1]}1",
                "line 2, column 34: found `1`; a space is expected before the timestamp",
            ),
            (
                "h {count:1,sum:1,bucket:[+Inf:1],schema:0,zero_threshold:0,zero_count:1}",
                "line 2, column 33: found `,schema:0,zero_threshold:0,zero_count:1}`; `}` is expected",
            ),
            (
                "h{le=\"1\"} {count:1,sum:1,bucket:[+Inf:1]}",
                "line 2, column 3: the label `le` is not allowed here",
            ),
            (
                "h {gcount:1,gsum:1,bucket:[+Inf:1]}",
                "line 2, column 3: found the fields of a gauge histogram; histogram `h` needs the fields of a histogram",
            ),
            (
                "h {count:1,sum:1,quantile:[]}",
                "line 2, column 3: found the fields of a summary; histogram `h` needs the fields of a histogram",
            ),
            (
                "h {count:1,sum:1,bucket:[+Inf:1]}\nh{a=\"b\"} {count:1,sum:1,bucket:[1:1,+Inf:1]}",
                "line 3, column 1: series {a=\"b\"} of histogram `h` has other buckets than the first series; a snapshot holds one list of bounds per family",
            ),
        ],
    );
}

#[test]
fn exponential_buckets_that_contradict_themselves() {
    let page = |fields: &str| format!("h {{count:1,sum:1,schema:0,zero_threshold:0,{fields}}}");
    let positive = |spans: &str, buckets: &str| {
        page(&format!(
            "zero_count:0,positive_spans:[{spans}],positive_buckets:[{buckets}]"
        ))
    };
    let cases = [
        (
            "h {count:1,sum:1,schema:9,zero_threshold:0,zero_count:1}".to_owned(),
            "line 2, column 25: need a schema from -4 to 8, got 9",
        ),
        (
            "h {count:1,sum:1,schema:-53,zero_threshold:0,zero_count:1}".to_owned(),
            "line 2, column 25: need a schema from -4 to 8, got -53",
        ),
        (
            "h {count:1,sum:1,schema:1.0,zero_threshold:0,zero_count:1}".to_owned(),
            "line 2, column 25: `1.0` is not a schema; expected an integer from -4 to 8",
        ),
        (
            "h {count:1,sum:1,schema:0,zero_threshold:-1,zero_count:1}".to_owned(),
            "line 2, column 25: need a zero threshold from 0 to 1e300, got -1.0",
        ),
        (
            "h {count:1,sum:1,schema:0,zero_threshold:+Inf,zero_count:1}".to_owned(),
            "line 2, column 42: `+Inf` is not a zero threshold; expected digits with optional sign, point and exponent",
        ),
        (
            "h {count:1,sum:1,schema:0,zero_count:1}".to_owned(),
            "line 2, column 26: found `,zero_count:1}`; `,zero_threshold:` is expected",
        ),
        (
            page("zero_count:0.5"),
            "line 2, column 55: found 0.5; a number of observations has to be an integer below 2^64",
        ),
        (
            page("zero_count:0"),
            "line 2, column 1: series {} of histogram `h` has a count of 1 and 0 in its exponential buckets",
        ),
        (
            page("zero_count:2"),
            "line 2, column 1: series {} of histogram `h` has a count of 1 and 2 in its exponential buckets",
        ),
        (
            page("zero_count:0,positive_spans:[0:1]"),
            "line 2, column 77: found `}`; `,positive_buckets:[` is expected",
        ),
        (
            page(
                "zero_count:0,positive_spans:[0:1],positive_buckets:[1],negative_spans:[0:1],negative_buckets:[0]",
            ),
            "line 2, column 98: found `,negative_spans:[0:1],negative_buckets:[…`; `,bucket:[` or `}` is expected",
        ),
        (
            positive("0:1", "-1"),
            "line 2, column 96: found -1; a number of observations has to be an integer below 2^64",
        ),
        (
            positive("0:1", ""),
            "line 2, column 96: found 0 buckets; the spans before have 1",
        ),
        (
            positive("0:1", "1,0"),
            "line 2, column 96: found 2 buckets; the spans before have 1",
        ),
        (
            positive("0:4000000000,0:4000000000", "1"),
            "line 2, column 118: found 1 buckets; the spans before have 8000000000",
        ),
        (
            positive("0:0", ""),
            "line 2, column 75: `0` is not a span length; expected an integer of 1 or more",
        ),
        (
            positive("0:1,-1:1", "1,0"),
            "line 2, column 77: `-1` is not a offset; expected a number of them since 1970, up to the year 9999",
        ),
        (
            positive("1026:1", "1"),
            "line 2, column 25: found the exponential bucket 1026; at schema 0, indices have to ascend from -1074 to 1025",
        ),
        (
            positive("2147483647:2", "0,1"),
            "line 2, column 25: found the exponential bucket 2147483647; at schema 0, indices have to ascend from -1074 to 1025",
        ),
        (
            positive("0", "1"),
            "line 2, column 74: found `],positive_buckets:[1]}`; `:` is expected",
        ),
    ];
    let cases: Vec<_> = cases
        .iter()
        .map(|(page, error)| (&**page, *error))
        .collect();
    all("# TYPE h histogram\n", &cases);
}

#[test]
fn values_that_a_kind_does_not_have() {
    all(
        "# TYPE s summary\n",
        &[
            (
                "s {count:1,sum:1}",
                "line 2, column 17: found `}`; `,bucket:[`, `,schema:` or `,quantile:[` is expected",
            ),
            (
                "s {count:1,sum:-1,quantile:[]}",
                "line 2, column 16: found -1; a sum in OpenMetrics has to be 0 or more",
            ),
            (
                "s {count:1,sum:NaN,quantile:[]}",
                "line 2, column 16: found NaN; a sum in OpenMetrics has to be 0 or more",
            ),
            (
                "s {count:0.5,sum:1,quantile:[]}",
                "line 2, column 10: found 0.5; a number of observations has to be an integer below 2^64",
            ),
            (
                "s {count:1,sum:1,quantile:[0.5:-1]}",
                "line 2, column 32: found -1; a quantile in OpenMetrics has to be 0 or more",
            ),
            (
                "s {count:1,sum:1,quantile:[1.5:1]}",
                "line 2, column 28: `1.5` is not a quantile; expected a number from 0 to 1",
            ),
            (
                "s {count:1,sum:1,quantile:[0.9:1,0.5:1]}",
                "line 2, column 34: 0.5 follows 0.9; bounds and quantiles have to ascend",
            ),
            (
                "s {count:1,sum:1,quantile:[0.5:1,0.5:1]}",
                "line 2, column 34: this bound or quantile is given twice",
            ),
            (
                "s{quantile=\"1\"} {count:1,sum:1,quantile:[]}",
                "line 2, column 3: the label `quantile` is not allowed here",
            ),
            (
                "s {count:1,sum:1,quantile:[]} # {} 1",
                "line 2, column 37: the line ends; a space is expected before the exemplar's timestamp",
            ),
        ],
    );
    all(
        "",
        &[
            (
                "# TYPE g gaugehistogram\ng {gcount:1,gsum:1,bucket:[+Inf:1]} st@1",
                "line 2, column 40: gauge histogram `g` cannot have a start time",
            ),
            (
                "# TYPE g gaugehistogram\ng {gcount:1,sum:1,bucket:[+Inf:1]}",
                "line 2, column 12: found `,sum:1,bucket:[+Inf:1]}`; `,gsum:` is expected",
            ),
            (
                "# TYPE a gauge\na {count:1,sum:1,quantile:[]}",
                "line 2, column 3: found the fields of a summary; gauge `a` needs a number",
            ),
            (
                "# TYPE a gauge\na 1 st@1",
                "line 2, column 8: gauge `a` cannot have a start time",
            ),
            (
                "# TYPE a gauge\na 1 # {} 1 1",
                "line 2, column 7: gauge `a` cannot have an exemplar",
            ),
            (
                "# TYPE a counter\na NaN",
                "line 2, column 3: found NaN; a counter has to be 0 or more",
            ),
            (
                "# TYPE a counter\na 1 # {} 1",
                "line 2, column 11: the line ends; a space is expected before the exemplar's timestamp",
            ),
            (
                "# TYPE a counter\na 1 # {} 1 1 # {} 1",
                "line 2, column 20: the line ends; a space is expected before the exemplar's timestamp",
            ),
            (
                "# TYPE a counter\na 1 # {} 1 1 st@1",
                "line 2, column 13: found ` st@1`; the end of the line is expected",
            ),
            (
                "# TYPE a counter\na 1 st@1 2",
                "line 2, column 9: found ` 2`; the end of the line is expected",
            ),
            (
                "# TYPE a counter\na 1 st@x",
                "line 2, column 8: `x` is not a timestamp in seconds; expected a number of them since 1970, up to the year 9999",
            ),
            (
                "# TYPE a counter\na 1 st@",
                "line 2, column 8: the timestamp in seconds is missing; expected a number of them since 1970, up to the year 9999",
            ),
            (
                "# TYPE a counter\na_total 1\na 1",
                "line 3, column 1: `a` belongs to the family that began in line 1: the lines of a family have to be adjacent, and no other family may use its sample names",
            ),
            (
                "# TYPE a info\na{b=\"c\"} 1",
                "line 1, column 1: the name of info `a` has to end in `_info`",
            ),
            (
                "# TYPE a_info info\n# UNIT a_info info",
                "line 1, column 1: info `a_info` cannot have a unit",
            ),
            (
                "# TYPE a_info info\na_info 2",
                "line 2, column 8: found 2; the value of an info has to be 1",
            ),
            (
                "# TYPE a stateset\na 1",
                "line 2, column 1: a state needs the label `a`, named like its family",
            ),
            (
                "# TYPE a gauge\n# UNIT a m/s",
                "line 2, column 10: found `m/s`; a unit has only a-z, A-Z, 0-9, _, :",
            ),
            (
                "# TYPE a untyped",
                "line 1, column 10: `untyped` is not a type; the types are counter, gauge, histogram, gaugehistogram, summary, info, stateset, unknown",
            ),
            (
                "# HELP a Some help.\r\n# TYPE a gauge",
                "line 1, column 20: OpenMetrics allows no carriage return at the end of a line",
            ),
            (
                "a 1\r",
                "line 1, column 4: OpenMetrics allows no carriage return at the end of a line",
            ),
            (
                "a {count:1,sum:1,quantile:[]}\na{b=\"c\"} 1",
                "line 2, column 10: found a number; summary `a` needs the fields of a summary",
            ),
            (
                "a 1\na{b=\"c\"} {count:1,sum:1,quantile:[]}",
                "line 2, column 10: found the fields of a summary; metric of no type `a` needs a number",
            ),
            (
                "a{b=\"\\c\"} 1",
                "line 1, column 6: `\\c` is not an escape sequence; the sequences are `\\\\`, `\\n` and `\\\"`",
            ),
        ],
    );
}

#[test]
fn samples_of_one_series_without_ascending_timestamps() {
    all(
        "",
        &[
            (
                "a 1\na 2",
                "line 2, column 1: line 1 has this series, too; a further sample needs a later timestamp",
            ),
            (
                "a 1 1\na 2",
                "line 2, column 1: line 1 has this series, too; a further sample needs a later timestamp",
            ),
            (
                "a 1\na 2 1",
                "line 2, column 1: line 1 has this series, too; a further sample needs a later timestamp",
            ),
            (
                "a 1 2\na 2 2",
                "line 2, column 1: line 1 has this series, too; a further sample needs a later timestamp",
            ),
            (
                "a 1 2\na 2 1",
                "line 2, column 1: line 1 has this series, too; a further sample needs a later timestamp",
            ),
            (
                "a 1 1\na{b=\"c\"} 1\na{b=\"\"} 1 2",
                "line 3, column 1: the lines of this label set have to be adjacent, but another label set is between them",
            ),
            (
                "# TYPE a stateset\na{a=\"x\",b=\"1\"} 1\na{a=\"x\",b=\"2\"} 1\na{a=\"y\",b=\"1\"} 0",
                "line 4, column 1: the lines of this label set have to be adjacent, but another label set is between them",
            ),
        ],
    );
}

/// Examples of the specification that a snapshot cannot hold: fractions of observations, and names
/// with quotes.
#[test]
fn valid_pages_that_are_no_snapshot() {
    all(
        "",
        &[
            (
                "# TYPE acme_http_request_seconds:rate5m gaugehistogram\n\
                 acme_http_request_seconds:rate5m{path=\"/api/v1\",method=\"GET\"} {gcount:0.01,gsum:2.0,schema:0,zero_threshold:1e-4,zero_count:0.0,positive_spans:[1:2],positive_buckets:[0.005,0.005]}",
                "line 2, column 168: found 0.005; a number of observations has to be an integer below 2^64",
            ),
            (
                "{\"\\\"bar\\\".seconds.count\",\"b\\\\\"=\"escaping\\\" example \\n \"} 0",
                "line 1, column 2: a name in braces `\"bar\".seconds.count` must not be empty or contain a quote, a backslash or a line feed",
            ),
            (
                "h{le=\"1\"} {count:0,sum:0,schema:0,zero_threshold:0,zero_count:0}",
                "line 1, column 3: the label `le` is not allowed here",
            ),
        ],
    );
}
