static E: tallies::Counter = tallies::Counter::new("e_total");
static L: tallies::Counter<[&str; 1]> = tallies::Counter::labelled("l_total", &["error"]);

struct Report;
type Size = u64;

#[tallies::count_errors(E)]
fn nothing() {}

#[tallies::count_errors(E)]
async fn unit() -> () {}

#[tallies::count_errors(E, on(error, panic))]
fn never() -> ! {
    loop {}
}

#[tallies::count_errors(L, error_label = |error| error)]
fn labelled() {}

#[tallies::count_errors(E)]
fn number() -> u32 {
    1
}

#[tallies::count_errors(E, on(none))]
fn alias() -> Size {
    1
}

#[tallies::count_errors(L, labels = [name])]
async fn report(name: &str) -> Report {
    Report
}

#[tallies::count_errors(E)]
fn future() -> impl Future<Output = Vec<u8>> {
    std::future::ready(vec![])
}

fn main() {}
