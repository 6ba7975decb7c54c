//! Pages that are not as their format has them: what Prometheus says, and what our reader says. The
//! test `e2e/scraped.rs` asks a real Prometheus.

#![allow(dead_code, reason = "each test uses some of it")]

use std::io::{Read, Write};
use std::net::TcpListener;

/// The verdict of Prometheus on a page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It scrapes so many samples.
    Taken(u32),
    /// Prometheus 3 does, and Prometheus 2 refuses the page.
    TakenBy3(u32),
    /// Prometheus 2 does, and Prometheus 3 refuses the page.
    TakenBy2(u32),
    Refused,
}

/// Serves page `i` at `/i`, at the address that is returned. Ends with the test's process.
pub fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let (mut request, mut byte) = (Vec::new(), [0]);
                while !request.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                    request.push(byte[0]);
                }
                let request = String::from_utf8_lossy(&request);
                let path = request.split(' ').nth(1).unwrap_or_default();
                let i = path.trim_start_matches('/').parse().ok();
                let Some(page) = i.and_then(|i: usize| PAGES.get(i)) else {
                    return;
                };
                let mut head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", page.body.len());
                if !page.content_type.is_empty() {
                    head += &format!("Content-Type: {}\r\n", page.content_type);
                }
                head += "Connection: close\r\n\r\n";
                // A client may leave.
                let _ = stream.write_all(&[head.as_bytes(), page.body].concat());
            });
        }
    });
    address
}

use Verdict::{Refused, Taken, TakenBy2, TakenBy3};

/// A page.
pub struct Page {
    /// The oddity.
    pub name: &'static str,
    pub content_type: &'static str,
    pub body: &'static [u8],
    pub prometheus: Verdict,
    /// How many samples that Prometheus stores a snapshot has not, or has with another value.
    pub differs: usize,
    /// Whether the strict reader reads it.
    pub strict: bool,
    /// The remarks: line and column, `!` if Prometheus refuses the page, and the first words.
    pub remarks: &'static [&'static str],
}

const TEXT: &str = "text/plain; version=0.0.4";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

#[rustfmt::skip]
pub const PAGES: &[Page] = &[
    Page { name: "type repeated", content_type: TEXT, body: b"# TYPE a counter\na{x=\"1\"} 1\n# TYPE a counter\na{x=\"2\"} 1\n", prometheus: Taken(2), differs: 0, strict: false, remarks: &["3:10 TYPE of `a` is given twice"] },
    Page { name: "type repeated differs", content_type: TEXT, body: b"# TYPE a counter\na{x=\"1\"} 1\n# TYPE a gauge\na{x=\"2\"} 1\n", prometheus: Taken(2), differs: 0, strict: false, remarks: &["3:10 TYPE of `a` is given twice"] },
    Page { name: "help repeated", content_type: TEXT, body: b"# HELP a A.\na{x=\"1\"} 1\n# HELP a A.\na{x=\"2\"} 1\n", prometheus: Taken(2), differs: 0, strict: false, remarks: &["3:10 HELP of `a` is given twice"] },
    Page { name: "interleaved", content_type: TEXT, body: b"# TYPE a gauge\na{x=\"1\"} 1\nb 1\na{x=\"2\"} 1\n", prometheus: Taken(3), differs: 0, strict: false, remarks: &["4:1 family `a` began in line 1, and other families are betwe"] },
    Page { name: "type after samples", content_type: TEXT, body: b"a 1\n# TYPE a gauge\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["2:1 TYPE of `a` has to come before its samples"] },
    Page { name: "counter nan", content_type: TEXT, body: b"# TYPE a_total counter\na_total NaN\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["2:9 found NaN; a counter has to be 0 or more"] },
    Page { name: "counter negative", content_type: TEXT, body: b"# TYPE a_total counter\na_total -1\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["2:9 found -1; a counter has to be 0 or more"] },
    Page { name: "no lf", content_type: TEXT, body: b"a 1", prometheus: Taken(1), differs: 0, strict: false, remarks: &["1:4 the last line has to end in a line feed"] },
    Page { name: "nan", content_type: TEXT, body: b"a nan\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["1:3 `nan` is not a number; expected digits with optional sig"] },
    Page { name: "inf", content_type: TEXT, body: b"a inf\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["1:3 `inf` is not a number; expected digits with optional sig"] },
    Page { name: "Infinity", content_type: TEXT, body: b"a Infinity\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["1:3 `Infinity` is not a number; expected digits with optiona"] },
    Page { name: "+Inf", content_type: TEXT, body: b"a +Inf\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "hex float", content_type: TEXT, body: b"a 0x1p-2\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:3! `0x1p-2` is not a number; expected digits with optional"] },
    Page { name: "hex int", content_type: TEXT, body: b"a 0x10\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:3! `0x10` is not a number; expected digits with optional s"] },
    Page { name: "underscore", content_type: TEXT, body: b"a 1_000\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:3! `1_000` is not a number; expected digits with optional "] },
    Page { name: "1e999", content_type: TEXT, body: b"a 1e999\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:3! `1e999` is not a number; expected digits with optional "] },
    Page { name: "comma decimal", content_type: TEXT, body: b"a 1,5\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:3! `1,5` is not a number; expected digits with optional si"] },
    Page { name: "+nan", content_type: TEXT, body: b"a +NaN\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:3! `+NaN` is not a number; expected digits with optional s"] },
    Page { name: "true", content_type: TEXT, body: b"a true\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:3! `true` is not a number; expected digits with optional s"] },
    Page { name: "empty val", content_type: TEXT, body: b"a \n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:3! the number is missing; expected digits with optional si"] },
    Page { name: "quantiles order", content_type: TEXT, body: b"# TYPE a summary\na{quantile=\"0.9\"} 2\na{quantile=\"0.5\"} 1\na_sum 3\na_count 2\n", prometheus: Taken(4), differs: 0, strict: false, remarks: &["3:3 0.5 follows 0.9; bounds and quantiles have to ascend"] },
    Page { name: "quantile 50", content_type: TEXT, body: b"# TYPE a summary\na{quantile=\"50\"} 2\na_sum 3\na_count 2\n", prometheus: Taken(3), differs: 0, strict: false, remarks: &["2:3 `50` is not a quantile; expected a number from 0 to 1"] },
    Page { name: "quantile text", content_type: TEXT, body: b"# TYPE a summary\na{quantile=\"p50\"} 2\na_sum 3\na_count 2\n", prometheus: Taken(3), differs: 1, strict: false, remarks: &["2:3 `p50` is not a quantile; expected a number from 0 to 1"] },
    Page { name: "buckets order", content_type: TEXT, body: b"# TYPE a histogram\na_bucket{le=\"2\"} 2\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 2\na_sum 3\na_count 2\n", prometheus: Taken(5), differs: 0, strict: false, remarks: &["3:10 1 follows 2; bounds and quantiles have to ascend"] },
    Page { name: "no +Inf", content_type: TEXT, body: b"# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 3\na_count 2\n", prometheus: Taken(3), differs: 0, strict: false, remarks: &["2:1 series {} of histogram `a` has no bucket `le=\"+Inf\"`"] },
    Page { name: "float count", content_type: TEXT, body: b"# TYPE a histogram\na_bucket{le=\"1\"} 1.5\na_bucket{le=\"+Inf\"} 2.5\na_sum 3\na_count 2.5\n", prometheus: Taken(4), differs: 3, strict: false, remarks: &["2:18 found 1.5; a number of observations has to be an intege", "3:21 found 2.5; a number of observations has to be an intege"] },
    Page { name: "no sum", content_type: TEXT, body: b"# TYPE a histogram\na_bucket{le=\"+Inf\"} 2\na_count 2\n", prometheus: Taken(2), differs: 0, strict: false, remarks: &["2:1 series {} of histogram `a` has no sum"] },
    Page { name: "no count", content_type: TEXT, body: b"# TYPE a histogram\na_bucket{le=\"+Inf\"} 2\na_sum 2\n", prometheus: Taken(2), differs: 0, strict: false, remarks: &["2:1 series {} of histogram `a` has no count"] },
    Page { name: "decreasing", content_type: TEXT, body: b"# TYPE a histogram\na_bucket{le=\"1\"} 3\na_bucket{le=\"+Inf\"} 2\na_sum 2\na_count 2\n", prometheus: Taken(4), differs: 2, strict: false, remarks: &["2:1 series {} of histogram `a` has a count of 2 and 3 in all", "3:21 found 2; the bucket before has 3, and the counts of buc"] },
    Page { name: "count differs", content_type: TEXT, body: b"# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 2\na_sum 2\na_count 3\n", prometheus: Taken(4), differs: 1, strict: false, remarks: &["2:1 series {} of histogram `a` has a count of 3 and 2 in all"] },
    Page { name: "bare name of histogram", content_type: TEXT, body: b"# TYPE a histogram\na 1\n", prometheus: Taken(1), differs: 1, strict: false, remarks: &["2:1 samples of histogram `a` are called `a_bucket`, `a_sum`,"] },
    Page { name: "bucket without le", content_type: TEXT, body: b"# TYPE a histogram\na_bucket 1\na_sum 1\na_count 1\n", prometheus: Taken(3), differs: 1, strict: false, remarks: &["2:1 the label `le` is missing", "3:1 series {} of histogram `a` has no bucket `le=\"+Inf\"`"] },
    Page { name: "le text", content_type: TEXT, body: b"# TYPE a histogram\na_bucket{le=\"x\"} 1\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n", prometheus: Taken(4), differs: 1, strict: false, remarks: &["2:10 `x` is not a bound; expected digits with optional sign,"] },
    Page { name: "different buckets", content_type: TEXT, body: b"# TYPE a histogram\na_bucket{x=\"1\",le=\"1\"} 1\na_bucket{x=\"1\",le=\"+Inf\"} 1\na_sum{x=\"1\"} 1\na_count{x=\"1\"} 1\na_bucket{x=\"2\",le=\"2\"} 1\na_bucket{x=\"2\",le=\"+Inf\"} 1\na_sum{x=\"2\"} 1\na_count{x=\"2\"} 1\n", prometheus: Taken(8), differs: 2, strict: false, remarks: &["6:1 series {x=\"2\"} of histogram `a` has other buckets than t"] },
    Page { name: "dup same", content_type: TEXT, body: b"a 1\na 1\n", prometheus: Taken(2), differs: 0, strict: false, remarks: &["2:1 `a` of this series is given twice; a snapshot holds one "] },
    Page { name: "dup differs", content_type: TEXT, body: b"a 1\na 2\n", prometheus: Taken(2), differs: 0, strict: false, remarks: &["2:1 `a` of this series is given twice; a snapshot holds one "] },
    Page { name: "dup ts", content_type: TEXT, body: b"a 1 1000\na 2 2000\n", prometheus: Taken(2), differs: 0, strict: false, remarks: &["2:1 `a` of this series is given twice; a snapshot holds one "] },
    Page { name: "unknown type", content_type: TEXT, body: b"# TYPE a foo\na 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:10! `foo` is not a type; the types are counter, gauge, his"] },
    Page { name: "type unknown", content_type: TEXT, body: b"# TYPE a unknown\na 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:10! `unknown` is not a type; the types are counter, gauge,"] },
    Page { name: "type info", content_type: TEXT, body: b"# TYPE a info\na 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:10! `info` is not a type; the types are counter, gauge, hi"] },
    Page { name: "stateset", content_type: TEXT, body: b"# TYPE a stateset\na{a=\"x\"} 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:10! `stateset` is not a type; the types are counter, gauge"] },
    Page { name: "type extra", content_type: TEXT, body: b"# TYPE a counter x\na 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:18! found `x`; the end of the line is expected"] },
    Page { name: "type trailing sp", content_type: TEXT, body: b"# TYPE a counter \na 1\n", prometheus: Refused, differs: 0, strict: true, remarks: &["1:9! Prometheus takes further blanks around a type for a par"] },
    Page { name: "help only", content_type: TEXT, body: b"# HELP a\na 1\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "help bad escape", content_type: TEXT, body: b"# HELP a C:\\windows\na 1\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["1:12 `\\w` is not an escape sequence; the sequences are `\\\\` "] },
    Page { name: "help name bad", content_type: TEXT, body: b"# HELP a.b x\na 1\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["1:9 found `.b x`; a space is expected before the help"] },
    Page { name: "blank lines", content_type: TEXT, body: b"\n\na 1\n\n \n\t\nb 1\n", prometheus: Taken(2), differs: 0, strict: true, remarks: &[] },
    Page { name: "tabs", content_type: TEXT, body: b"a\t1\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "spaces", content_type: TEXT, body: b"  a   1  \n", prometheus: TakenBy3(1), differs: 1, strict: true, remarks: &["1:1 a blank before a name: Prometheus 2 refuses it, and Prom"] },
    Page { name: "crlf", content_type: TEXT, body: b"# TYPE a gauge\r\na 1\r\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:15! a line must not end in a carriage return"] },
    Page { name: "crlf labels", content_type: TEXT, body: b"a{x=\"1\"} 1\r\nb 2\r\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:11! a line must not end in a carriage return"] },
    Page { name: "crlf blank", content_type: TEXT, body: b"a 1\n\r\nb 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["2:1! a line must not end in a carriage return"] },
    Page { name: "ts float", content_type: TEXT, body: b"a 1 1.5\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:5! `1.5` is not a timestamp in milliseconds; expected an i"] },
    Page { name: "ts neg", content_type: TEXT, body: b"a 1 -1\n", prometheus: Refused, differs: 0, strict: true, remarks: &["1:5! `-1` is before 1970, and Prometheus takes no sign"] },
    Page { name: "trailing comma", content_type: TEXT, body: b"a{x=\"1\",} 1\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "two commas", content_type: TEXT, body: b"a{x=\"1\",,} 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:9! found `,} 1`; a name in braces begins with one of a-z, "] },
    Page { name: "empty braces", content_type: TEXT, body: b"a{} 1\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "no comma", content_type: TEXT, body: b"a{x=\"1\" y=\"2\"} 1\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["1:9 found `y=\"2\"} 1`; `,` or `}` is expected after a label"] },
    Page { name: "no sep value", content_type: TEXT, body: b"a{x=\"1\"}1\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "empty label", content_type: TEXT, body: b"a{x=\"\"} 1\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "dup label", content_type: TEXT, body: b"a{x=\"1\",x=\"2\"} 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:9! label `x` is given twice"] },
    Page { name: "__name__ label", content_type: TEXT, body: b"a{__name__=\"b\"} 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:3! `__name__` is the name of the sample, not a label"] },
    Page { name: "label dash", content_type: TEXT, body: b"a{x-y=\"1\"} 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:4! found `-y=\"1\"} 1`; `=` is expected after a label name"] },
    Page { name: "unquoted", content_type: TEXT, body: b"a{x=1} 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:5! found `1} 1`; a value in quotes is expected"] },
    Page { name: "bad escape in value", content_type: TEXT, body: b"a{x=\"\\d\"} 1\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["1:6 `\\d` is not an escape sequence; the sequences are `\\\\`, "] },
    Page { name: "lf in label", content_type: TEXT, body: b"a{x=\"1\n2\"} 1\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["1:5 a line feed in a label value has to be written as `\\n`"] },
    Page { name: "le label on gauge", content_type: TEXT, body: b"# TYPE a gauge\na{le=\"1\"} 1\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "utf8 quoted", content_type: TEXT, body: b"{\"a.b\",\"c.d\"=\"e\"} 1\n", prometheus: TakenBy3(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "utf8 label quoted", content_type: TEXT, body: b"a{\"c.d\"=\"e\"} 1\n", prometheus: TakenBy3(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "utf8 value", content_type: TEXT, body: b"a{x=\"\xc3\xa9\"} 1\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "invalid utf8 value", content_type: TEXT, body: b"a{x=\"\xff\"} 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:6! found the byte 0xff, which is not valid UTF-8 here"] },
    Page { name: "invalid utf8 comment", content_type: TEXT, body: b"# \xff\na 1\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["1:3 found the byte 0xff, which is not valid UTF-8 here"] },
    Page { name: "dot name", content_type: TEXT, body: b"a.b 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:2! found `.b 1`; a space is expected before the value"] },
    Page { name: "bom", content_type: TEXT, body: b"\xef\xbb\xbfa 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:1! found `\\u{feff}a 1`; a sample's name begins with one of"] },
    Page { name: "comment", content_type: TEXT, body: b"# hi\n#\n#x\n#HELP a b\n# TYPE\na 1\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["5:7 the line ends; a space is expected before the family's name"] },
    Page { name: "comment after value", content_type: TEXT, body: b"a 1 # hi\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:5! the text format allows no exemplars and no comments aft"] },
    Page { name: "exemplar text", content_type: TEXT, body: b"# TYPE a_total counter\na_total 1 # {t=\"x\"} 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["2:11! the text format allows no exemplars and no comments af"] },
    Page { name: "eof in text", content_type: TEXT, body: b"a 1\n# EOF\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "html", content_type: TEXT, body: b"<html><body>hi</body></html>\n", prometheus: Refused, differs: 0, strict: false, remarks: &["line 1, column 1: this is HTML, not a page of metrics; did y"] },
    Page { name: "html ct", content_type: "text/html", body: b"<!DOCTYPE html>\n<html></html>\n", prometheus: Refused, differs: 0, strict: false, remarks: &["line 1, column 1: this is HTML, not a page of metrics; did y"] },
    Page { name: "json", content_type: "application/json", body: b"{\"a\": 1}\n", prometheus: Refused, differs: 0, strict: false, remarks: &["0:0! the Content-Type is `application/json`; it has to be `t", "1:5! found `: 1}`; `,` or `}` is expected after a label"] },
    Page { name: "no ct", content_type: "", body: b"a 1\n", prometheus: TakenBy2(1), differs: 0, strict: true, remarks: &["0:0! there is no Content-Type; it has to be `text/plain; ver"] },
    Page { name: "no value", content_type: TEXT, body: b"a\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:2! the line ends; a space is expected before the value"] },
    Page { name: "one bad line", content_type: TEXT, body: b"a 1\nb x y\nc 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["2:3! `x` is not a number; expected digits with optional sign"] },
    Page { name: "nul", content_type: TEXT, body: b"a 1\n\x00\nb 1\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["2:1 Prometheus takes a NUL byte for the end of the page"] },
    Page { name: "unclosed", content_type: TEXT, body: b"a{x=\"1\" 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:9! found `1`; `,` or `}` is expected after a label"] },
    Page { name: "unit text", content_type: TEXT, body: b"# UNIT a x\na 1\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "suffix clash", content_type: TEXT, body: b"# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n# TYPE a_count gauge\na_count{x=\"1\"} 1\n", prometheus: Taken(4), differs: 0, strict: false, remarks: &["2:1 series {} of histogram `a` has no count", "5:1 TYPE of `a_count` has to come before its samples", "5:8 `a_count` belongs to the family that began in line 1: th"] },
    Page { name: "int 2^64", content_type: TEXT, body: b"a 18446744073709551616\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "summary no sum", content_type: TEXT, body: b"# TYPE a summary\na{quantile=\"0.5\"} 1\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "quantile NaN sum float count", content_type: TEXT, body: b"# TYPE a summary\na_sum NaN\na_count 1.5\n", prometheus: Taken(2), differs: 1, strict: false, remarks: &["3:9 found 1.5; a number of observations has to be an integer"] },
    Page { name: "hist sum only", content_type: TEXT, body: b"# TYPE a histogram\na_sum 1\na_count 1\n", prometheus: Taken(2), differs: 0, strict: false, remarks: &["2:1 series {} of histogram `a` has no bucket `le=\"+Inf\"`"] },
    Page { name: "le Inf", content_type: TEXT, body: b"# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"Inf\"} 1\na_sum 1\na_count 1\n", prometheus: Taken(4), differs: 0, strict: false, remarks: &["3:10 `Inf` is not a bound; expected digits with optional sig"] },
    Page { name: "le NaN", content_type: TEXT, body: b"# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"NaN\"} 1\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n", prometheus: Taken(5), differs: 1, strict: false, remarks: &["3:10 `NaN` is not a bound; expected digits with optional sig"] },
    Page { name: "neg bucket", content_type: TEXT, body: b"# TYPE a histogram\na_bucket{le=\"1\"} -1\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n", prometheus: Taken(4), differs: 1, strict: false, remarks: &["2:18 found -1; a number of observations has to be an integer"] },
    Page { name: "le twice num", content_type: TEXT, body: b"# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"1.0\"} 1\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n", prometheus: Taken(5), differs: 0, strict: false, remarks: &["3:1 `a_bucket` of this series is given twice; a snapshot hol"] },
    Page { name: "om", content_type: OPEN_METRICS, body: b"# TYPE a counter\na_total 1\n# EOF\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "om no eof", content_type: OPEN_METRICS, body: b"# TYPE a counter\na_total 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["2:10! the page is cut off: its last line has to be `# EOF`"] },
    Page { name: "om after eof", content_type: OPEN_METRICS, body: b"a 1\n# EOF\nb 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["3:1! nothing may follow `# EOF`"] },
    Page { name: "om blank", content_type: OPEN_METRICS, body: b"a 1\n\n# EOF\n", prometheus: Refused, differs: 0, strict: false, remarks: &["2:1! OpenMetrics allows no empty lines"] },
    Page { name: "om comment", content_type: OPEN_METRICS, body: b"# hi\na 1\n# EOF\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:3! found `hi`; OpenMetrics allows only HELP, TYPE, UNIT an"] },
    Page { name: "om counter no total", content_type: OPEN_METRICS, body: b"# TYPE a counter\na 1\n# EOF\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["2:1 samples of counter `a` are called `a_total`, `a_created`"] },
    Page { name: "om two spaces", content_type: OPEN_METRICS, body: b"a  1\n# EOF\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:3! the number is missing; expected digits with optional si"] },
    Page { name: "om cr", content_type: OPEN_METRICS, body: b"a 1\r\n# EOF\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:4! OpenMetrics allows no carriage return at the end of a line"] },
    Page { name: "om type repeated", content_type: OPEN_METRICS, body: b"# TYPE a gauge\na{x=\"1\"} 1\n# TYPE a gauge\na{x=\"2\"} 1\n# EOF\n", prometheus: Taken(2), differs: 0, strict: false, remarks: &["3:10 TYPE of `a` is given twice"] },
    Page { name: "om interleaved", content_type: OPEN_METRICS, body: b"# TYPE a gauge\na{x=\"1\"} 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\na{x=\"2\"} 1\n# EOF\n", prometheus: Taken(3), differs: 0, strict: false, remarks: &["5:10 TYPE of `a` is given twice"] },
    Page { name: "om exemplar gauge", content_type: OPEN_METRICS, body: b"# TYPE a gauge\na 1 # {t=\"x\"} 1\n# EOF\n", prometheus: TakenBy3(1), differs: 0, strict: false, remarks: &["2:7 only totals of counters and buckets can have exemplars"] },
    Page { name: "om exemplar long", content_type: OPEN_METRICS, body: b"# TYPE a counter\na_total 1 # {t=\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"} 1\n# EOF\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["2:13 an exemplar's labels have 128 characters at most, got 131"] },
    Page { name: "om nan counter", content_type: OPEN_METRICS, body: b"# TYPE a counter\na_total NaN\n# EOF\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["2:9 found NaN; a counter has to be 0 or more"] },
    Page { name: "om unit mismatch", content_type: OPEN_METRICS, body: b"# TYPE a gauge\n# UNIT a seconds\na 1\n# EOF\n", prometheus: Refused, differs: 0, strict: false, remarks: &["2:10! unit `seconds` has to be the end of the name `a`, afte"] },
    Page { name: "om trailing comma", content_type: OPEN_METRICS, body: b"a{x=\"1\",} 1\n# EOF\n", prometheus: TakenBy3(1), differs: 0, strict: false, remarks: &["1:9 OpenMetrics allows no comma after the last label"] },
    Page { name: "om type untyped", content_type: OPEN_METRICS, body: b"# TYPE a untyped\na 1\n# EOF\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:10! `untyped` is not a type; the types are counter, gauge,"] },
    Page { name: "om dup", content_type: OPEN_METRICS, body: b"a 1\na 2\n# EOF\n", prometheus: Taken(2), differs: 0, strict: false, remarks: &["2:1 `a` of this series is given twice; a snapshot holds one "] },
    Page { name: "om hist no inf", content_type: OPEN_METRICS, body: b"# TYPE a histogram\na_bucket{le=\"1\"} 1\n# EOF\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["2:1 series {} of histogram `a` has no bucket `le=\"+Inf\"`"] },
    Page { name: "om info 2", content_type: OPEN_METRICS, body: b"# TYPE a info\na_info 2\n# EOF\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["2:8 found 2; the value of an info has to be 1"] },
    Page { name: "om tab", content_type: OPEN_METRICS, body: b"a\t1\n# EOF\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:2! found `\\t1`; a space is expected before the value"] },
    Page { name: "om hex", content_type: OPEN_METRICS, body: b"a 0x1p3\n# EOF\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:3! `0x1p3` is not a number; expected digits with optional "] },
    Page { name: "om ts two points", content_type: OPEN_METRICS, body: b"a 1 1\na 2 2\n# EOF\n", prometheus: Taken(2), differs: 0, strict: false, remarks: &["2:1 `a` of this series is given twice; a snapshot holds one ", "2:3 line 1 has another timestamp for this series; a snapshot"] },
    Page { name: "om suffixed type", content_type: OPEN_METRICS, body: b"# TYPE a_total counter\na_total 1\n# EOF\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["2:1 samples of counter `a_total` are called `a_total_total`,"] },
    Page { name: "om exemplar bad", content_type: OPEN_METRICS, body: b"# TYPE a counter\na_total 1 # {t=x} 1\n# EOF\n", prometheus: Refused, differs: 0, strict: false, remarks: &["2:16! found `x} 1`; a value in quotes is expected"] },
    Page { name: "help sp lf", content_type: TEXT, body: b"# HELP \na 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:8! the line ends; a family's name begins with one of a-z, "] },
    Page { name: "type sp lf", content_type: TEXT, body: b"# TYPE \na 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:8! the line ends; a family's name begins with one of a-z, "] },
    Page { name: "type lf", content_type: TEXT, body: b"# TYPE\na 1\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["1:7 the line ends; a space is expected before the family's name"] },
    Page { name: "type 2sp b", content_type: TEXT, body: b"# TYPE a  gauge\na 1\n", prometheus: Refused, differs: 0, strict: true, remarks: &["1:9! Prometheus takes further blanks around a type for a par"] },
    Page { name: "lead type", content_type: TEXT, body: b"  # TYPE a foo\na 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:12! `foo` is not a type; the types are counter, gauge, his"] },
    Page { name: "type digit", content_type: TEXT, body: b"# TYPE 1a gauge\na 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:8! found `1a gauge`; a family's name begins with one of a-"] },
    Page { name: "help digit", content_type: TEXT, body: b"# HELP 1a x\na 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:8! found `1a x`; a family's name begins with one of a-z, A"] },
    Page { name: "quoted type", content_type: TEXT, body: b"# TYPE \"a.b\" gauge\n{\"a.b\"} 1\n", prometheus: TakenBy3(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "quoted name lone", content_type: TEXT, body: b"\"a.b\" 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:1! a sample's name in quotes has to be inside the braces: "] },
    Page { name: "name in braces only", content_type: TEXT, body: b"{x=\"1\"} 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:2! a sample needs a name; a name in quotes comes first in "] },
    Page { name: "name twice", content_type: TEXT, body: b"a{\"b\"} 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:6! found `} 1`; `=` is expected after a label name"] },
    Page { name: "quoted name second", content_type: TEXT, body: b"{x=\"1\",\"a.b\"} 1\n", prometheus: TakenBy3(1), differs: 0, strict: false, remarks: &["1:8 the name of a sample has to be the first in the braces"] },
    Page { name: "quote in name", content_type: TEXT, body: b"{\"a\\\"b\"} 1\n", prometheus: TakenBy3(1), differs: 1, strict: false, remarks: &["1:2 a name in braces `a\"b` must not be empty or contain a qu"] },
    Page { name: "sum counter text", content_type: TEXT, body: b"# TYPE a counter\na{x=\"1\"} 1\n# HELP a later\na{x=\"2\"} 2\n", prometheus: Taken(2), differs: 0, strict: false, remarks: &["3:1 HELP of `a` has to come before its samples"] },
    Page { name: "hist late type", content_type: TEXT, body: b"a_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n# TYPE a histogram\n", prometheus: Taken(4), differs: 0, strict: false, remarks: &["5:1 TYPE of `a` has to come before its samples"] },
    Page { name: "summary grouped apart", content_type: TEXT, body: b"# TYPE a summary\na{quantile=\"0.5\"} 1\n# TYPE b gauge\nb 1\na_sum 1\na_count 1\n", prometheus: Taken(4), differs: 0, strict: false, remarks: &["5:1 family `a` began in line 1, and other families are betwe"] },
    Page { name: "lf between labels", content_type: TEXT, body: b"a{x=\"1\",\ny=\"2\"} 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:9! the line ends; a name in braces begins with one of a-z,", "2:2! found `=\"2\"} 1`; a space is expected before the value"] },
    Page { name: "empty type help order", content_type: TEXT, body: b"# HELP a\n# TYPE a gauge\na 1\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "cut", content_type: TEXT, body: b"a 1\nb{x=", prometheus: Refused, differs: 0, strict: false, remarks: &["2:5! the line ends; a value in quotes is expected", "2:5 the last line has to end in a line feed"] },
    Page { name: "cut number", content_type: TEXT, body: b"a 1\nb 12", prometheus: Taken(2), differs: 0, strict: false, remarks: &["2:5 the last line has to end in a line feed"] },
    Page { name: "dup summary", content_type: TEXT, body: b"# TYPE a summary\na_count 1\na_count 1\na_sum 1\n", prometheus: Taken(3), differs: 0, strict: false, remarks: &["3:1 `a_count` of this series is given twice; a snapshot hold"] },
    Page { name: "unescaped quote", content_type: TEXT, body: b"a{x=\"a\"b\"} 1\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:8 found `b\"} 1`; `,` or `}` is expected after a label", "1:9! found `\"} 1`; `=` is expected after a label name"] },
    Page { name: "hist with created", content_type: TEXT, body: b"# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\na_created 1\n", prometheus: Taken(4), differs: 0, strict: true, remarks: &[] },
    Page { name: "html middle", content_type: TEXT, body: b"a 1\n<br>\n", prometheus: Refused, differs: 0, strict: false, remarks: &["2:1! found `<br>`; a sample's name begins with one of a-z, A"] },
    Page { name: "om nan word", content_type: OPEN_METRICS, body: b"a nan\n# EOF\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "om stateset missing", content_type: OPEN_METRICS, body: b"# TYPE a stateset\na 1\n# EOF\n", prometheus: Taken(1), differs: 1, strict: false, remarks: &["2:1 a state needs the label `a`, named like its family"] },
    Page { name: "om quantile 50", content_type: OPEN_METRICS, body: b"# TYPE a summary\na{quantile=\"50\"} 1\n# EOF\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["2:3 `50` is not a quantile; expected a number from 0 to 1"] },
    Page { name: "om unit dup", content_type: OPEN_METRICS, body: b"# TYPE a_x gauge\n# UNIT a_x x\n# UNIT a_x x\na_x 1\n# EOF\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["3:12 UNIT of `a_x` is given twice"] },
    Page { name: "om help after", content_type: OPEN_METRICS, body: b"a 1\n# HELP a x\n# EOF\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["2:1 HELP of `a` has to come before its samples"] },
    Page { name: "om labels not adjacent", content_type: OPEN_METRICS, body: b"# TYPE a summary\na_sum{x=\"1\"} 1\na_sum{x=\"2\"} 1\na_count{x=\"1\"} 1\na_count{x=\"2\"} 1\n# EOF\n", prometheus: Taken(4), differs: 0, strict: false, remarks: &["4:1 the lines of this label set have to be adjacent, but ano"] },
    Page { name: "om info unit", content_type: OPEN_METRICS, body: b"# TYPE a_x info\n# UNIT a_x x\na_x_info 1\n# EOF\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["1:1 info `a_x` cannot have a unit"] },
    Page { name: "om help quote", content_type: OPEN_METRICS, body: b"# HELP a \"x\"\na 1\n# EOF\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["1:10 a quote in HELP has to be escaped as `\\\"`"] },
    Page { name: "om help escape", content_type: OPEN_METRICS, body: b"# HELP a \\d\na 1\n# EOF\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["1:10 `\\d` is not an escape sequence; the sequences are `\\\\`,"] },
    Page { name: "om label escape", content_type: OPEN_METRICS, body: b"a{x=\"\\d\"} 1\n# EOF\n", prometheus: Taken(1), differs: 0, strict: false, remarks: &["1:6 `\\d` is not an escape sequence; the sequences are `\\\\`, "] },
    Page { name: "om label no comma", content_type: OPEN_METRICS, body: b"a{x=\"1\"y=\"2\"} 1\n# EOF\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:8! found `y=\"2\"} 1`; `,` or `}` is expected after a label"] },
    Page { name: "om exemplar bucket", content_type: OPEN_METRICS, body: b"# TYPE a histogram\na_bucket{le=\"1\"} 1 # {t=\"x\"} 7\na_bucket{le=\"+Inf\"} 1\n# EOF\n", prometheus: Taken(2), differs: 0, strict: false, remarks: &["2:22 the value of this exemplar is not within the bound of i"] },
    Page { name: "om help empty", content_type: OPEN_METRICS, body: b"# HELP a\na 1\n# EOF\n", prometheus: Refused, differs: 0, strict: false, remarks: &["1:9! the line ends; a space is expected before the help"] },
    Page { name: "om neg sum", content_type: OPEN_METRICS, body: b"# TYPE a summary\na_sum -1\na_count 1\n# EOF\n", prometheus: Taken(2), differs: 0, strict: false, remarks: &["2:7 found -1; a sum in OpenMetrics has to be 0 or more"] },
    Page { name: "om created neg", content_type: OPEN_METRICS, body: b"# TYPE a counter\na_total 1\na_created -1\n# EOF\n", prometheus: Taken(2), differs: 1, strict: false, remarks: &["3:11 found -1; a creation time is a number of seconds since 1970"] },
    Page { name: "om ts neg", content_type: OPEN_METRICS, body: b"a 1 -5\n# EOF\n", prometheus: Taken(1), differs: 0, strict: true, remarks: &[] },
    Page { name: "octet", content_type: "application/octet-stream", body: b"a 1\n", prometheus: TakenBy2(1), differs: 0, strict: true, remarks: &["0:0! the Content-Type is `application/octet-stream`; it has "] },
];
