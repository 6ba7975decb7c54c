//! Reads malicious pages: memory is proportional to a page's length, whatever the page contains.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts allocated bytes: their total, and their peak.
struct Counting;

static TOTAL: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "an allocator that counts")]
// SAFETY: forwards every call to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TOTAL.fetch_add(layout.size(), Relaxed);
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A page of `n` parts between a beginning and an end.
fn page(n: usize, begin: &str, part: impl Fn(usize) -> String, end: &str) -> String {
    let parts: String = (0..n).map(part).collect();
    format!("{begin}{parts}{end}")
}

/// Named pages of `n` parts each.
fn pages(n: usize) -> Vec<(&'static str, String)> {
    vec![
        ("families", page(n, "", |i| format!("f{i} 1\n"), "")),
        (
            "types",
            page(n, "", |i| format!("# TYPE f{i} histogram\n"), "# EOF\n"),
        ),
        ("series", page(n, "", |i| format!("a{{b=\"{i}\"}} 1\n"), "")),
        (
            "series, then families",
            page(n, "", |i| format!("a{{b=\"{i}\"}} 1\n"), "")
                + &page(n, "", |i| format!("f{i} 1\n"), ""),
        ),
        (
            "buckets",
            page(
                n,
                "# TYPE h histogram\n",
                |i| format!("h_bucket{{le=\"{i}\"}} {i}\n"),
                &format!("h_bucket{{le=\"+Inf\"}} {n}\nh_sum 1\nh_count {n}\n"),
            ),
        ),
        (
            "histograms without an end",
            page(
                n,
                "# TYPE h histogram\n",
                |i| format!("h_bucket{{le=\"1\",a=\"{i}\"}} 1\n"),
                "",
            ),
        ),
        (
            "quantiles",
            page(
                n,
                "# TYPE s summary\n",
                |i| format!("s{{quantile=\"0.{i:06}\"}} 1\n"),
                "s_sum 1\ns_count 1\n",
            ),
        ),
        (
            "states",
            page(
                n,
                "# TYPE p stateset\n",
                |i| format!("p{{p=\"{i}\",q=\"{}\"}} 1\n", i / 2),
                "# EOF\n",
            ),
        ),
        ("labels", page(n, "a{", |i| format!("l{i}=\"\","), "} 1\n")),
        (
            "exemplars",
            page(
                n,
                "# TYPE a counter\n",
                |i| format!("a_total{{b=\"{i}\"}} 1 # {{}} 1\n"),
                "# EOF\n",
            ),
        ),
        (
            "fields",
            page(
                n,
                "# TYPE h histogram\nh {count:1,sum:1,bucket:[",
                |i| format!("{i}:1,"),
                "+Inf:1]}\n# EOF\n",
            ),
        ),
        (
            "spans",
            page(
                n,
                "h {count:0,sum:0,schema:0,zero_threshold:0,zero_count:0,positive_spans:[0:1",
                |_| ",1:4000000000".into(),
                "],positive_buckets:[0]}\n# EOF\n",
            ),
        ),
        (
            "exponential buckets",
            page(
                n,
                &format!(
                    "h {{count:{n},sum:0,schema:8,zero_threshold:0,zero_count:0,\
                     positive_spans:[0:{n}],positive_buckets:[1"
                ),
                |i| if i > 0 { ",1".into() } else { String::new() },
                "]}\n# EOF\n",
            ),
        ),
        (
            "exemplars of a line",
            page(n, "a 1 st@1", |i| format!(" # {{}} {i} 1"), "\n# EOF\n"),
        ),
        (
            "samples of a series",
            page(n, "", |i| format!("a 1 {i} st@1\n"), "# EOF\n"),
        ),
        ("escapes", page(n, "a{b=\"", |_| "\\\\".into(), "\"} 1\n")),
        ("quotes", page(n, "a{b=\"", |_| "\\\"".into(), "")),
        ("help", page(n, "# HELP a ", |_| "\\n".into(), "\n")),
        ("digits", page(n, "a 0.", |_| "123".into(), "\n")),
        ("blanks", page(n, "a", |_| " \t".into(), "1\n")),
        ("commas", page(n, "a{", |_| ",".into(), "} 1\n")),
        ("empty lines", page(n, "", |_| "\n".into(), "")),
        ("comments", page(n, "", |_| "#\n".into(), "")),
    ]
}

/// The bytes that reading a page allocates, in total and at their peak, without the page itself.
fn taken(page: &str) -> (usize, usize) {
    let (total, held) = (TOTAL.load(Relaxed), HELD.load(Relaxed));
    PEAK.store(held, Relaxed);
    let read = tallies_check::read(page);
    let peak = PEAK.load(Relaxed) - held;
    drop(read);
    (TOTAL.load(Relaxed) - total, peak)
}

#[test]
fn memory_follows_the_page() {
    for ((what, short), (_, long)) in pages(2_000).into_iter().zip(pages(32_000)) {
        let (before, _) = taken(&short);
        let (total, peak) = taken(&long);
        println!(
            "{what}: {} bytes, {:.1} each at once, {:.1} in all",
            long.len(),
            peak as f64 / long.len() as f64,
            total as f64 / long.len() as f64
        );
        assert!(
            peak < 100 * long.len() + 10_000,
            "{what}: {peak} of {}",
            long.len()
        );
        // Sixteen times the parts take up to 48 times the bytes, in the worst case of buffers that
        // double.
        assert!(
            total < 48 * before.max(10_000),
            "{what}: {before} became {total}"
        );
    }
}
