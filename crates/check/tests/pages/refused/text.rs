//! Tests of text pages that the reader rejects.

use super::{read_text, refused};

#[test]
fn what_is_no_text() {
    for (page, error) in [
        (
            "a",
            "line 1, column 2: the line ends; a space is expected before the value",
        ),
        (
            "a 1",
            "line 1, column 4: the last line has to end in a line feed",
        ),
        (
            "a{ 1\n",
            "line 1, column 4: found `1`; a name in braces begins with one of a-z, A-Z, _, or is in quotes",
        ),
        (
            "a \n",
            "line 1, column 3: the number is missing; expected digits with optional sign, point and exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "a{} \n",
            "line 1, column 5: the number is missing; expected digits with optional sign, point and exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "1a 1\n",
            "line 1, column 1: found `1a 1`; a sample's name begins with one of a-z, A-Z, _, :, or is in quotes",
        ),
        (
            "a-b 1\n",
            "line 1, column 2: found `-b 1`; a space is expected before the value",
        ),
        (
            "\"a\" 1\n",
            "line 1, column 1: a sample's name in quotes has to be inside the braces: `{\"name\"} 1`",
        ),
        (
            "{} 1\n",
            "line 1, column 2: a sample needs a name; a name in quotes comes first in the braces",
        ),
        (
            "{a=\"b\"} 1\n",
            "line 1, column 2: a sample needs a name; a name in quotes comes first in the braces",
        ),
        (
            "{\"a\",\"b\"} 1\n",
            "line 1, column 9: found `} 1`; `=` is expected after a label name",
        ),
        (
            "a{\"b\"} 1\n",
            "line 1, column 6: found `} 1`; `=` is expected after a label name",
        ),
        (
            "a{b} 1\n",
            "line 1, column 4: found `} 1`; `=` is expected after a label name",
        ),
        (
            "a{b=c} 1\n",
            "line 1, column 5: found `c} 1`; a value in quotes is expected",
        ),
        (
            "a{b=\"c} 1\n",
            "line 1, column 5: this quote is never closed",
        ),
        (
            "a{b=\"c\\x\"} 1\n",
            "line 1, column 7: `\\x` is not an escape sequence; the sequences are `\\\\`, `\\n` and `\\\"`",
        ),
        (
            "a{b=\"c\" d=\"e\"} 1\n",
            "line 1, column 9: found `d=\"e\"} 1`; `,` or `}` is expected after a label",
        ),
        (
            "a{,} 1\n",
            "line 1, column 3: found `,} 1`; a name in braces begins with one of a-z, A-Z, _, or is in quotes",
        ),
        (
            "a{b=\"c\",,} 1\n",
            "line 1, column 9: found `,} 1`; a name in braces begins with one of a-z, A-Z, _, or is in quotes",
        ),
        (
            "a{b:c=\"d\"} 1\n",
            "line 1, column 4: found `:c=\"d\"} 1`; `=` is expected after a label name",
        ),
        (
            "a{__name__=\"b\"} 1\n",
            "line 1, column 3: `__name__` is the name of the sample, not a label",
        ),
        (
            "a{b=\"c\",b=\"d\"} 1\n",
            "line 1, column 9: label `b` is given twice",
        ),
        (
            "a{b=\"c\"} 1\na{b=\"c\"} 2\n",
            "line 2, column 1: `a` of this series is given twice; a snapshot holds one point per series",
        ),
        (
            "a{b=\"c\",d=\"\"} 1\na{d=\"\",b=\"c\"} 2\n",
            "line 2, column 1: `a` of this series is given twice; a snapshot holds one point per series",
        ),
        (
            "a{} 1\na 1\n",
            "line 2, column 1: `a` of this series is given twice; a snapshot holds one point per series",
        ),
        (
            "a inf\n",
            "line 1, column 3: `inf` is not a number; expected digits with optional sign, point and exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "a 0x1\n",
            "line 1, column 3: `0x1` is not a number; expected digits with optional sign, point and exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "a 1_0\n",
            "line 1, column 3: `1_0` is not a number; expected digits with optional sign, point and exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "a 1e999\n",
            "line 1, column 3: `1e999` is not a number; expected digits with optional sign, point and exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "a 1 1.5\n",
            "line 1, column 5: `1.5` is not a timestamp in milliseconds; expected an integer number of them since 1970, up to the year 9999",
        ),
        (
            "a 1 2 3\n",
            "line 1, column 7: found `3`; the end of the line is expected",
        ),
        (
            "a 1 # {x=\"y\"} 1\n",
            "line 1, column 5: the text format allows no exemplars and no comments after a value",
        ),
        (
            "a 1 \u{a0}\n",
            "line 1, column 5: `\\u{a0}` is not a timestamp in milliseconds; expected an integer number of them since 1970, up to the year 9999",
        ),
        (
            "a 1\r\n",
            "line 1, column 3: `1\\r` is not a number; expected digits with optional sign, point and exponent, `+Inf`, `-Inf` or `NaN`",
        ),
        (
            "a 1\nb 1\na{x=\"y\"} 2\n",
            "line 3, column 1: `a` belongs to the family that began in line 1: the lines of a family have to be adjacent, and no other family may use its sample names",
        ),
        (
            "# TYPE a counter\n# TYPE a counter\n",
            "line 2, column 10: TYPE of `a` is given twice",
        ),
        (
            "# HELP a x\n# HELP a y\n",
            "line 2, column 10: HELP of `a` is given twice",
        ),
        (
            "# HELP a x\\\"y\n",
            "line 1, column 11: `\\\"` is not an escape sequence; the sequences are `\\\\` and `\\n`",
        ),
        (
            "# HELP a x\\",
            "line 1, column 11: `\\` is not an escape sequence; the sequences are `\\\\` and `\\n`",
        ),
        (
            "# HELP a x\\\n",
            "line 1, column 11: `\\` is not an escape sequence; the sequences are `\\\\` and `\\n`",
        ),
        (
            "# TYPE a\n",
            "line 1, column 9: the line ends; a space is expected before the type",
        ),
        (
            "# TYPE a unknown\n",
            "line 1, column 10: `unknown` is not a type; the types are counter, gauge, histogram, summary, untyped",
        ),
        (
            "# TYPE a counter x\n",
            "line 1, column 18: found `x`; the end of the line is expected",
        ),
        (
            "# TYPE 1a counter\n",
            "line 1, column 8: found `1a counter`; a family's name begins with one of a-z, A-Z, _, :, or is in quotes",
        ),
        (
            "a 1\n# TYPE a counter\n",
            "line 2, column 8: TYPE of `a` has to come before its samples",
        ),
        (
            "a 1\n# HELP a x\n",
            "line 2, column 8: HELP of `a` has to come before its samples",
        ),
        (
            "# TYPE a counter\na -1\n",
            "line 2, column 3: found -1; a counter has to be 0 or more",
        ),
        (
            "# TYPE a counter\na NaN\n",
            "line 2, column 3: found NaN; a counter has to be 0 or more",
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
            "line 2, column 10: `x` is not a bound; expected digits with optional sign, point and exponent, or `+Inf`",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"inf\"} 1\n",
            "line 2, column 10: `inf` is not a bound; expected digits with optional sign, point and exponent, or `+Inf`",
        ),
        (
            "# TYPE h histogram\nh_sum{le=\"1\"} 1\n",
            "line 2, column 7: the label `le` is not allowed here",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} 0.5\n",
            "line 2, column 18: found 0.5; a number of observations has to be an integer below 2^64",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} -1\n",
            "line 2, column 18: found -1; a number of observations has to be an integer below 2^64",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"1.0\"} 1\n",
            "line 3, column 1: `h_bucket` of this series is given twice; a snapshot holds one point per series",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"10\"} 1\nh_bucket{le=\"5\"} 1\n",
            "line 3, column 10: 5 follows 10; bounds and quantiles have to ascend",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 2\n",
            "line 3, column 21: found 2; the bucket before has 3, and the counts of buckets are cumulative",
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
            "line 3, column 1: `h_sum` of this series is given twice; a snapshot holds one point per series",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 1\nh_count 3\nh_bucket{x=\"y\",le=\"1\"} 0\nh_bucket{x=\"y\",le=\"+Inf\"} 0\nh_sum{x=\"y\"} 0\nh_count{x=\"y\"} 0\n",
            "line 5, column 1: series {x=\"y\"} of histogram `h` has other buckets than the first series; a snapshot holds one list of bounds per family",
        ),
        (
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 1\nh_count 3\n# TYPE h_sum gauge\n",
            "line 5, column 8: `h_sum` belongs to the family that began in line 1: the lines of a family have to be adjacent, and no other family may use its sample names",
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
            "line 2, column 3: `1.5` is not a quantile; expected a number from 0 to 1",
        ),
        (
            "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns{quantile=\"0.4\"} 1\n",
            "line 3, column 3: 0.4 follows 0.5; bounds and quantiles have to ascend",
        ),
        (
            "# TYPE s summary\ns_count 1.5\n",
            "line 2, column 9: found 1.5; a number of observations has to be an integer below 2^64",
        ),
        (
            "{\"a\\nb\"} 1\n",
            "line 1, column 2: a name in braces `a\\nb` must not be empty or contain a quote, a backslash or a line feed",
        ),
        (
            "{\"\"} 1\n",
            "line 1, column 2: a name in braces `` must not be empty or contain a quote, a backslash or a line feed",
        ),
    ] {
        refused(read_text(page), page, error);
    }
}
