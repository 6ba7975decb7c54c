//! Pages that are refused, and what the errors say.

use super::*;

#[track_caller]
fn refused(read: Result<Snapshot, Error>, page: &str, error: &str) {
    match read {
        Ok(read) => panic!("{page:?} is {read:?}"),
        Err(e) => assert_eq!(e.to_string(), error, "{page:?}"),
    }
}

#[test]
fn what_is_no_text() {
    for (page, error) in [
        (
            "a",
            "line 1, column 2: the line ends; a blank belongs before the value",
        ),
        (
            "a 1",
            "line 1, column 4: the last line has to end in a line feed",
        ),
        (
            "a{ 1\n",
            "line 1, column 4: found `1`; a name in braces begins with one of a-z, A-Z, _, or stands in quotes",
        ),
        (
            "a \n",
            "line 1, column 3: the number is missing: digits with a sign, a point and an exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "a{} \n",
            "line 1, column 5: the number is missing: digits with a sign, a point and an exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "1a 1\n",
            "line 1, column 1: found `1a 1`; a sample's name begins with one of a-z, A-Z, _, :, or stands in quotes",
        ),
        (
            "a-b 1\n",
            "line 1, column 2: found `-b 1`; a blank belongs before the value",
        ),
        (
            "\"a\" 1\n",
            "line 1, column 1: a sample's name in quotes belongs into the braces: `{\"name\"} 1`",
        ),
        (
            "{} 1\n",
            "line 1, column 2: a sample needs a name, first in the braces if it is in quotes",
        ),
        (
            "{a=\"b\"} 1\n",
            "line 1, column 2: a sample needs a name, first in the braces if it is in quotes",
        ),
        (
            "{\"a\",\"b\"} 1\n",
            "line 1, column 9: found `} 1`; `=` belongs behind a label's name",
        ),
        (
            "a{\"b\"} 1\n",
            "line 1, column 6: found `} 1`; `=` belongs behind a label's name",
        ),
        (
            "a{b} 1\n",
            "line 1, column 4: found `} 1`; `=` belongs behind a label's name",
        ),
        (
            "a{b=c} 1\n",
            "line 1, column 5: found `c} 1`; a value in quotes belongs here",
        ),
        (
            "a{b=\"c} 1\n",
            "line 1, column 5: this quote is never closed",
        ),
        (
            "a{b=\"c\\x\"} 1\n",
            "line 1, column 7: `\\x` is no escape; there are `\\\\`, `\\n` and `\\\"`",
        ),
        (
            "a{b=\"c\" d=\"e\"} 1\n",
            "line 1, column 9: found `d=\"e\"} 1`; `,` or `}` belongs behind a label",
        ),
        (
            "a{,} 1\n",
            "line 1, column 3: found `,} 1`; a name in braces begins with one of a-z, A-Z, _, or stands in quotes",
        ),
        (
            "a{b=\"c\",,} 1\n",
            "line 1, column 9: found `,} 1`; a name in braces begins with one of a-z, A-Z, _, or stands in quotes",
        ),
        (
            "a{b:c=\"d\"} 1\n",
            "line 1, column 4: found `:c=\"d\"} 1`; `=` belongs behind a label's name",
        ),
        (
            "a{__name__=\"b\"} 1\n",
            "line 1, column 3: `__name__` is no label: the sample's name is it",
        ),
        (
            "a{b=\"c\",b=\"d\"} 1\n",
            "line 1, column 9: label `b` stands twice",
        ),
        (
            "a{b=\"c\"} 1\na{b=\"c\"} 2\n",
            "line 2, column 1: `a` of this series stands twice; a snapshot holds one point of it",
        ),
        (
            "a{b=\"c\",d=\"\"} 1\na{d=\"\",b=\"c\"} 2\n",
            "line 2, column 1: `a` of this series stands twice; a snapshot holds one point of it",
        ),
        (
            "a{} 1\na 1\n",
            "line 2, column 1: `a` of this series stands twice; a snapshot holds one point of it",
        ),
        (
            "a inf\n",
            "line 1, column 3: `inf` is no number: that is digits with a sign, a point and an exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "a 0x1\n",
            "line 1, column 3: `0x1` is no number: that is digits with a sign, a point and an exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "a 1_0\n",
            "line 1, column 3: `1_0` is no number: that is digits with a sign, a point and an exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "a 1e999\n",
            "line 1, column 3: `1e999` is no number: that is digits with a sign, a point and an exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "a 1 1.5\n",
            "line 1, column 5: `1.5` is no timestamp in milliseconds: that is a whole number of them since 1970, up to the year 9999",
        ),
        (
            "a 1 2 3\n",
            "line 1, column 7: found `3`; the line should end here",
        ),
        (
            "a 1 # {x=\"y\"} 1\n",
            "line 1, column 5: text has no exemplars and no comments behind a value",
        ),
        (
            "a 1 \u{a0}\n",
            "line 1, column 5: `\\u{a0}` is no timestamp in milliseconds: that is a whole number of them since 1970, up to the year 9999",
        ),
        (
            "a 1\r\n",
            "line 1, column 3: `1\\r` is no number: that is digits with a sign, a point and an exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "a 1\nb 1\na{x=\"y\"} 2\n",
            "line 3, column 1: `a` is of the family that began in line 1: its lines stand together, and its samples' names are its own",
        ),
        (
            "# TYPE a counter\n# TYPE a counter\n",
            "line 2, column 10: TYPE of `a` stands twice",
        ),
        (
            "# HELP a x\n# HELP a y\n",
            "line 2, column 10: HELP of `a` stands twice",
        ),
        (
            "# HELP a x\\\"y\n",
            "line 1, column 11: `\\\"` is no escape; there are `\\\\` and `\\n`",
        ),
        (
            "# HELP a x\\",
            "line 1, column 11: `\\` is no escape; there are `\\\\` and `\\n`",
        ),
        (
            "# HELP a x\\\n",
            "line 1, column 11: `\\` is no escape; there are `\\\\` and `\\n`",
        ),
        (
            "# TYPE a\n",
            "line 1, column 9: the line ends; a blank belongs before what it is",
        ),
        (
            "# TYPE a unknown\n",
            "line 1, column 10: `unknown` is no type: counter, gauge, histogram, summary, untyped",
        ),
        (
            "# TYPE a counter x\n",
            "line 1, column 18: found `x`; the line should end here",
        ),
        (
            "# TYPE 1a counter\n",
            "line 1, column 8: found `1a counter`; a family's name begins with one of a-z, A-Z, _, :, or stands in quotes",
        ),
        (
            "a 1\n# TYPE a counter\n",
            "line 2, column 8: TYPE of `a` belongs before its samples",
        ),
        (
            "a 1\n# HELP a x\n",
            "line 2, column 8: HELP of `a` belongs before its samples",
        ),
        (
            "# TYPE a counter\na -1\n",
            "line 2, column 3: found -1; a counter is 0 or more",
        ),
        (
            "# TYPE a counter\na NaN\n",
            "line 2, column 3: found NaN; a counter is 0 or more",
        ),
        (
            "# TYPE h histogram\nh 1\n",
            "line 2, column 1: samples of histogram `h` are called `h_bucket`, `h_sum`, `h_count`",
        ),
        (
            "# TYPE h histogram\nh_bucket 1\n",
            "line 2, column 1: the label `le` is missing",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"x\"} 1\n",
            "line 2, column 10: `x` is no bound: that is digits with a sign, a point and an exponent, or `+Inf`",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"inf\"} 1\n",
            "line 2, column 10: `inf` is no bound: that is digits with a sign, a point and an exponent, or `+Inf`",
        ),
        (
            "# TYPE h histogram\nh_sum{le=\"1\"} 1\n",
            "line 2, column 7: the label `le` does not belong here",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} 0.5\n",
            "line 2, column 18: found 0.5; a number of observations is whole, and below 2^64",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} -1\n",
            "line 2, column 18: found -1; a number of observations is whole, and below 2^64",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"1.0\"} 1\n",
            "line 3, column 1: `h_bucket` of this series stands twice; a snapshot holds one point of it",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"10\"} 1\nh_bucket{le=\"5\"} 1\n",
            "line 3, column 10: 5 stands behind 10; bounds and quantiles ascend",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 2\n",
            "line 3, column 21: found 2; the bucket before has 3, and a bucket counts all up to its bound",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_sum 1\nh_count 3\n",
            "line 2, column 1: series {} of histogram `h` has no bucket `le=\"+Inf\"`",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 1\nh_count 2\n",
            "line 2, column 1: series {} of histogram `h` has a count of 2 and 3 in all buckets",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 1\n",
            "line 2, column 1: series {} of histogram `h` has no count",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_count 3\n",
            "line 2, column 1: series {} of histogram `h` has no sum",
        ),
        (
            "# TYPE h histogram\nh_sum 1\nh_sum 1\n",
            "line 3, column 1: `h_sum` of this series stands twice; a snapshot holds one point of it",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 1\nh_count 3\nh_bucket{x=\"y\",le=\"1\"} 0\nh_bucket{x=\"y\",le=\"+Inf\"} 0\nh_sum{x=\"y\"} 0\nh_count{x=\"y\"} 0\n",
            "line 5, column 1: series {x=\"y\"} of histogram `h` has other buckets than the first one; a snapshot holds one list per family",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 1\nh_count 3\n# TYPE h_sum gauge\n",
            "line 5, column 8: `h_sum` is of the family that began in line 1: its lines stand together, and its samples' names are its own",
        ),
        (
            "h_sum 1\n# TYPE h histogram\nh_count 3\n",
            "line 2, column 1: family `h` has samples `h_sum`, and so has the family that began in line 1",
        ),
        (
            "# TYPE s summary\ns 1\n",
            "line 2, column 1: the label `quantile` is missing",
        ),
        (
            "# TYPE s summary\ns{quantile=\"1.5\"} 1\n",
            "line 2, column 3: `1.5` is no quantile: that is a number from 0 to 1",
        ),
        (
            "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns{quantile=\"0.4\"} 1\n",
            "line 3, column 3: 0.4 stands behind 0.5; bounds and quantiles ascend",
        ),
        (
            "# TYPE s summary\ns_count 1.5\n",
            "line 2, column 9: found 1.5; a number of observations is whole, and below 2^64",
        ),
        (
            "{\"a\\nb\"} 1\n",
            "line 1, column 2: a name in braces `a\\nb` is empty, or has a quote, a backslash or a line feed in it",
        ),
        (
            "{\"\"} 1\n",
            "line 1, column 2: a name in braces `` is empty, or has a quote, a backslash or a line feed in it",
        ),
    ] {
        refused(read_text(page), page, error);
    }
}

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
        (
            "# EOF\n\n",
            "line 2, column 1: nothing may stand behind `# EOF`",
        ),
        (
            "# EOF\na 1\n",
            "line 2, column 1: nothing may stand behind `# EOF`",
        ),
        (
            "\n# EOF\n",
            "line 1, column 1: OpenMetrics has no empty lines",
        ),
        (
            "a  1\n# EOF\n",
            "line 1, column 3: the number is missing: digits with a sign, a point and an exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "a 1 \n# EOF\n",
            "line 1, column 5: the timestamp in seconds is missing: how many since 1970, up to the year 9999",
        ),
        (
            " a 1\n# EOF\n",
            "line 1, column 1: found ` a 1`; a sample's name begins with one of a-z, A-Z, _, :, or stands in quotes",
        ),
        (
            "a\t1\n# EOF\n",
            "line 1, column 2: found `\\t1`; a blank belongs before the value",
        ),
        (
            "a{b=\"c\",} 1\n# EOF\n",
            "line 1, column 9: found `} 1`; a name in braces begins with one of a-z, A-Z, _, or stands in quotes",
        ),
        (
            "a{b=\"c\", d=\"e\"} 1\n# EOF\n",
            "line 1, column 9: found ` d=\"e\"} 1`; a name in braces begins with one of a-z, A-Z, _, or stands in quotes",
        ),
        (
            "a{b=\"c\"}1\n# EOF\n",
            "line 1, column 9: found `1`; a blank belongs before the value",
        ),
        (
            "a {b=\"c\"} 1\n# EOF\n",
            "line 1, column 3: `{b=\"c\"}` is no number: that is digits with a sign, a point and an exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "# a comment\n# EOF\n",
            "line 1, column 3: found `a`; OpenMetrics has HELP, TYPE, UNIT and one EOF, no comments",
        ),
        (
            "#\n# EOF\n",
            "line 1, column 2: the line ends; a blank belongs before HELP, TYPE or UNIT",
        ),
        (
            "#TYPE a gauge\n# EOF\n",
            "line 1, column 2: found `TYPE a gauge`; a blank belongs before HELP, TYPE or UNIT",
        ),
        (
            "# TYPE a untyped\n# EOF\n",
            "line 1, column 10: `untyped` is no type: counter, gauge, histogram, gaugehistogram, summary, info, stateset, unknown",
        ),
        (
            "# HELP a\n# EOF\n",
            "line 1, column 9: the line ends; a blank belongs before the help",
        ),
        (
            "# HELP a x\"y\n# EOF\n",
            "line 1, column 11: a quote in HELP is written `\\\"`",
        ),
        (
            "# UNIT a seconds\n# EOF\n",
            "line 1, column 10: unit `seconds` has to end the name `a`, behind `_`",
        ),
        (
            "# UNIT aseconds seconds\n# EOF\n",
            "line 1, column 17: unit `seconds` has to end the name `aseconds`, behind `_`",
        ),
        (
            "# UNIT a_seconds seconds\n# UNIT a_seconds seconds\n# EOF\n",
            "line 2, column 18: UNIT of `a_seconds` stands twice",
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
            "line 3, column 11: found -1; a series was created some seconds after 1970",
        ),
        (
            "# TYPE a counter\na_total{x=\"1\"} 1\na_total{x=\"2\"} 1\na_created{x=\"1\"} 1\n# EOF\n",
            "line 4, column 1: this label set was there before another one; all lines of one stand together",
        ),
        (
            "# TYPE a counter\na_total 1 1\na_created 1 2\n# EOF\n",
            "line 3, column 11: line 2 has another timestamp for this series; a snapshot holds one point of it",
        ),
        (
            "# TYPE a counter\na_total 1 1\na_total 2 2\n# EOF\n",
            "line 3, column 9: line 2 has another timestamp for this series; a snapshot holds one point of it",
        ),
        (
            "# TYPE a counter\n# TYPE a_created gauge\n# EOF\n",
            "line 2, column 8: `a_created` is of the family that began in line 1: its lines stand together, and its samples' names are its own",
        ),
        (
            "# TYPE a gauge\na 1 # {x=\"y\"} 1\n# EOF\n",
            "line 2, column 7: exemplars belong to totals of counters and to buckets",
        ),
        (
            "# TYPE a counter\na_total 1 # {x=\"y\"}\n# EOF\n",
            "line 2, column 20: the line ends; a blank belongs before the exemplar's value",
        ),
        (
            "# TYPE a counter\na_total 1 # x=\"y\" 1\n# EOF\n",
            "line 2, column 13: an exemplar begins with its labels in braces",
        ),
        (
            "# TYPE a counter\na_total 1 #{x=\"y\"} 1\n# EOF\n",
            "line 2, column 10: found ` #{x=\"y\"} 1`; the line should end here",
        ),
        (
            "# TYPE a counter\na_total 1 # {x=\"y\",x=\"z\"} 1\n# EOF\n",
            "line 2, column 20: label `x` stands twice",
        ),
        (
            "# TYPE a counter\na_total 1 # {x=\"y\"} 1 NaN\n# EOF\n",
            "line 2, column 23: `NaN` is no timestamp in seconds: that is how many since 1970, up to the year 9999",
        ),
        (
            "# TYPE a info\na 1\n# EOF\n",
            "line 2, column 1: samples of info `a` are called `a_info`",
        ),
        (
            "# TYPE a info\na_info 2\n# EOF\n",
            "line 2, column 8: found 2; the value of an info is 1",
        ),
        (
            "# TYPE a stateset\na 1\n# EOF\n",
            "line 2, column 1: a state needs the label `a`, called as its family",
        ),
        (
            "# TYPE a stateset\na{a=\"x\"} 2\n# EOF\n",
            "line 2, column 10: found 2; the value of a state is 0 or 1",
        ),
        (
            "# TYPE a stateset\na{a=\"x\",b=\"1\"} 1\na{a=\"x\",b=\"2\"} 1\na{a=\"y\",b=\"1\"} 0\n# EOF\n",
            "line 4, column 1: this label set was there before another one; all lines of one stand together",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1 # {} 2\n# EOF\n",
            "line 2, column 22: this exemplar is not in its bucket: it is above the bound",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1 # {} NaN\n# EOF\n",
            "line 2, column 25: this exemplar is not in its bucket: it is above the bound",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1 # {} 1\n# EOF\n",
            "line 3, column 11: exemplars belong to totals of counters and to buckets",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\n# EOF\n",
            "line 2, column 1: series {} of histogram `h` has one of sum and count; they stand together",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum -1\nh_count 1\n# EOF\n",
            "line 3, column 7: found -1; a sum of OpenMetrics is 0 or more",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"-1\"} 0\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n# EOF\n",
            "line 2, column 1: series {} of histogram `h` has a sum beside a bucket below 0, where OpenMetrics has none",
        ),
        (
            "# TYPE h gaugehistogram\nh_bucket{le=\"+Inf\"} 1\nh_gsum -1\nh_gcount 1\n# EOF\n",
            "line 2, column 1: series {} of gauge histogram `h` has a sum of -1 and no bucket below 0",
        ),
        (
            "# TYPE s summary\ns{quantile=\"0.5\"} -1\n# EOF\n",
            "line 2, column 19: found -1; a quantile of OpenMetrics is 0 or more",
        ),
        (
            "a 1 +Inf\n# EOF\n",
            "line 1, column 5: `+Inf` is no timestamp in seconds: that is how many since 1970, up to the year 9999",
        ),
        (
            "a 1 1e300\n# EOF\n",
            "line 1, column 5: `1e300` is no timestamp in seconds: that is how many since 1970, up to the year 9999",
        ),
    ] {
        refused(read_open_metrics(page), page, error);
    }
}

#[test]
fn bytes_that_are_no_text() {
    let error = read(b"a 1\nb{c=\"\xc3\xa4\xff\"} 1\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 2, column 7: found the byte 0xff, which is no UTF-8 here"
    );
}

#[test]
fn errors_show_the_beginning_only() {
    let page = format!("a {}\n", "ä".repeat(1000));
    let error = read(page).unwrap_err().to_string();
    assert!(error.len() < 250 && error.contains('…'), "{error}");
}
