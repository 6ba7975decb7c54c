//! Tests of OpenMetrics pages that the reader rejects.

use super::{read_open_metrics, refused};

#[test]
fn what_is_no_open_metrics() {
    for (page, error) in [
        (
            "",
            "line 1, column 1: the page is cut off: its last line has to be `# EOF`",
        ),
        (
            "a 1\n",
            "line 1, column 4: the page is cut off: its last line has to be `# EOF`",
        ),
        ("# EOF\n\n", "line 2, column 1: nothing may follow `# EOF`"),
        (
            "# EOF\na 1\n",
            "line 2, column 1: nothing may follow `# EOF`",
        ),
        (
            "\n# EOF\n",
            "line 1, column 1: OpenMetrics allows no empty lines",
        ),
        (
            "a  1\n# EOF\n",
            "line 1, column 3: the number is missing; expected digits with optional sign, point and exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "a 1 \n# EOF\n",
            "line 1, column 5: the timestamp in seconds is missing; expected a number of them since 1970, up to the year 9999",
        ),
        (
            " a 1\n# EOF\n",
            "line 1, column 1: found ` a 1`; a sample's name begins with one of a-z, A-Z, _, :, or is in quotes",
        ),
        (
            "a\t1\n# EOF\n",
            "line 1, column 2: found `\\t1`; a space is expected before the value",
        ),
        (
            "a{b=\"c\",} 1\n# EOF\n",
            "line 1, column 9: OpenMetrics allows no comma after the last label",
        ),
        (
            "a{b=\"c\", d=\"e\"} 1\n# EOF\n",
            "line 1, column 9: found ` d=\"e\"} 1`; a name in braces begins with one of a-z, A-Z, _, or is in quotes",
        ),
        (
            "a{b=\"c\"}1\n# EOF\n",
            "line 1, column 9: found `1`; a space is expected before the value",
        ),
        (
            "a {b=\"c\"} 1\n# EOF\n",
            "line 1, column 3: `{b=\"c\"}` is not a number; expected digits with optional sign, point and exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "# a comment\n# EOF\n",
            "line 1, column 3: found `a`; OpenMetrics allows only HELP, TYPE, UNIT and EOF after `#`, and no comments",
        ),
        (
            "#\n# EOF\n",
            "line 1, column 2: the line ends; a space is expected before HELP, TYPE or UNIT",
        ),
        (
            "#TYPE a gauge\n# EOF\n",
            "line 1, column 2: found `TYPE a gauge`; a space is expected before HELP, TYPE or UNIT",
        ),
        (
            "# TYPE a untyped\n# EOF\n",
            "line 1, column 10: `untyped` is not a type; the types are counter, gauge, histogram, gaugehistogram, summary, info, stateset, unknown",
        ),
        (
            "# HELP a\n# EOF\n",
            "line 1, column 9: the line ends; a space is expected before the help",
        ),
        (
            "# HELP a x\"y\n# EOF\n",
            "line 1, column 11: a quote in HELP has to be escaped as `\\\"`",
        ),
        (
            "# UNIT a seconds\n# EOF\n",
            "line 1, column 10: unit `seconds` has to be the end of the name `a`, after a `_`",
        ),
        (
            "# UNIT aseconds seconds\n# EOF\n",
            "line 1, column 17: unit `seconds` has to be the end of the name `aseconds`, after a `_`",
        ),
        (
            "# UNIT a_seconds seconds\n# UNIT a_seconds seconds\n# EOF\n",
            "line 2, column 18: UNIT of `a_seconds` is given twice",
        ),
        (
            "# TYPE a_x info\n# UNIT a_x x\n# EOF\n",
            "line 1, column 1: info `a_x` cannot have a unit",
        ),
        (
            "# TYPE a counter\na 1\n# EOF\n",
            "line 2, column 1: samples of counter `a` are called `a_total`, `a_created`",
        ),
        (
            "# TYPE a_total counter\na_total 1\n# EOF\n",
            "line 2, column 1: samples of counter `a_total` are called `a_total_total`, `a_total_created`",
        ),
        (
            "# TYPE a counter\na_created 1\n# EOF\n",
            "line 2, column 1: series {} of counter `a_total` has no value",
        ),
        (
            "# TYPE a counter\na_total 1\na_created -1\n# EOF\n",
            "line 3, column 11: found -1; a creation time is a number of seconds since 1970",
        ),
        (
            "# TYPE a counter\na_total{x=\"1\"} 1\na_total{x=\"2\"} 1\na_created{x=\"1\"} 1\n# EOF\n",
            "line 4, column 1: the lines of this label set have to be adjacent, but another label set is between them",
        ),
        (
            "# TYPE a counter\na_total 1 1\na_created 1 2\n# EOF\n",
            "line 3, column 11: line 2 has another timestamp for this series; a snapshot holds one point per series",
        ),
        (
            "# TYPE a counter\na_total 1 1\na_total 2 2\n# EOF\n",
            "line 3, column 9: line 2 has another timestamp for this series; a snapshot holds one point per series",
        ),
        (
            "# TYPE a counter\n# TYPE a_created gauge\n# EOF\n",
            "line 2, column 8: `a_created` belongs to the family that began in line 1: the lines of a family have to be adjacent, and no other family may use its sample names",
        ),
        (
            "# TYPE a gauge\na 1 # {x=\"y\"} 1\n# EOF\n",
            "line 2, column 7: only totals of counters and buckets can have exemplars",
        ),
        (
            "# TYPE a counter\na_total 1 # {x=\"y\"}\n# EOF\n",
            "line 2, column 20: the line ends; a space is expected before the exemplar's value",
        ),
        (
            "# TYPE a counter\na_total 1 # x=\"y\" 1\n# EOF\n",
            "line 2, column 13: an exemplar begins with its labels in braces",
        ),
        (
            "# TYPE a counter\na_total 1 #{x=\"y\"} 1\n# EOF\n",
            "line 2, column 10: found ` #{x=\"y\"} 1`; the end of the line is expected",
        ),
        (
            "# TYPE a counter\na_total 1 # {x=\"y\",x=\"z\"} 1\n# EOF\n",
            "line 2, column 20: label `x` is given twice",
        ),
        (
            "# TYPE a counter\na_total 1 # {x=\"y\"} 1 NaN\n# EOF\n",
            "line 2, column 23: `NaN` is not a timestamp in seconds; expected a number of them since 1970, up to the year 9999",
        ),
        (
            "# TYPE a info\na 1\n# EOF\n",
            "line 2, column 1: samples of info `a` are called `a_info`",
        ),
        (
            "# TYPE a info\na_info 2\n# EOF\n",
            "line 2, column 8: found 2; the value of an info has to be 1",
        ),
        (
            "# TYPE a stateset\na 1\n# EOF\n",
            "line 2, column 1: a state needs the label `a`, named like its family",
        ),
        (
            "# TYPE a stateset\na{a=\"x\"} 2\n# EOF\n",
            "line 2, column 10: found 2; the value of a state has to be 0 or 1",
        ),
        (
            "# TYPE a stateset\na{a=\"x\",b=\"1\"} 1\na{a=\"x\",b=\"2\"} 1\na{a=\"y\",b=\"1\"} 0\n# EOF\n",
            "line 4, column 1: the lines of this label set have to be adjacent, but another label set is between them",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1 # {} 2\n# EOF\n",
            "line 2, column 22: the value of this exemplar is not within the bound of its bucket",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1 # {} NaN\n# EOF\n",
            "line 2, column 25: the value of this exemplar is not within the bound of its bucket",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1 # {} 1\n# EOF\n",
            "line 3, column 11: only totals of counters and buckets can have exemplars",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\n# EOF\n",
            "line 2, column 1: series {} of histogram `h` has only one of sum and count; both are required",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum -1\nh_count 1\n# EOF\n",
            "line 3, column 7: found -1; a sum in OpenMetrics has to be 0 or more",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"-1\"} 0\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n# EOF\n",
            "line 2, column 1: series {} of histogram `h` has a sum and a bucket below 0; OpenMetrics allows no sum there",
        ),
        (
            "# TYPE h gaugehistogram\nh_bucket{le=\"+Inf\"} 1\nh_gsum -1\nh_gcount 1\n# EOF\n",
            "line 2, column 1: series {} of gauge histogram `h` has a sum of -1 and no bucket below 0",
        ),
        (
            "# TYPE s summary\ns{quantile=\"0.5\"} -1\n# EOF\n",
            "line 2, column 19: found -1; a quantile in OpenMetrics has to be 0 or more",
        ),
        (
            "a 1 +Inf\n# EOF\n",
            "line 1, column 5: `+Inf` is not a timestamp in seconds; expected a number of them since 1970, up to the year 9999",
        ),
        (
            "a 1 1e300\n# EOF\n",
            "line 1, column 5: `1e300` is not a timestamp in seconds; expected a number of them since 1970, up to the year 9999",
        ),
    ] {
        refused(read_open_metrics(page), page, error);
    }
}
