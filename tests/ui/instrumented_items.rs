static T: tallies::Histogram = tallies::Histogram::new("t_seconds");
static E: tallies::Counter = tallies::Counter::new("e_total");

#[tallies::timed(T)]
const fn constant() {}

#[tallies::timed(T)]
struct S;

#[tallies::timed(T)]
impl S {
    const fn new() -> Self {
        S
    }
}

trait A {
    #[tallies::timed(T)]
    fn a(&self);
}

#[tallies::count_errors(E, on(cancel))]
fn f() {}

#[tallies::timed(T)]
fn boxed() -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
    let future = Box::pin(async {});
    future
}

trait Stream {}
impl Stream for () {}

#[tallies::timed(T)]
fn stream() -> impl Stream {}

#[tallies::count_errors(E)]
#[track_caller]
fn tracked() -> Option<u8> {
    None
}

fn main() {}
