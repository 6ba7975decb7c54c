static T: tallies::Histogram = tallies::Histogram::new("t_seconds");
static E: tallies::Counter<[&str; 1]> = tallies::Counter::labelled("e_total", &["error"]);

#[tallies::timed]
fn none() {}

#[tallies::timed(labels = ["x"])]
fn only_labels() {}

#[tallies::timed("t_seconds")]
fn name() {}

#[tallies::timed(T, label = ["x"])]
fn key() {}

#[tallies::timed(T, on(error))]
fn on() {}

#[tallies::timed(T, labels = |x| [x])]
fn closure() {}

#[tallies::timed(skip)]
fn skip() {}

#[tallies::count_errors(E, on(err), labels = ["x"])]
fn kind() {}

#[tallies::count_errors(E, on(error, panic), labels = |x| [x])]
fn which() {}

#[tallies::count_errors(E, on(), labels = ["x"])]
fn nothing() {}

#[tallies::timed(T, labels(route = "x"))]
fn called() {}

#[tallies::timed(T, error_label = |error| error)]
fn timed_by_error() {}

#[tallies::count_errors(E, error_label = "kind")]
fn no_closure() {}

#[tallies::count_errors(E, labels = ["x"], error_label = |error| error)]
fn both() {}

#[tallies::count_errors(E, on(panic), error_label = |error| error)]
fn no_error() {}

#[tallies::count_errors(E, error_label = || "error")]
fn no_argument() -> Result<(), ()> {
    Ok(())
}

fn main() {}
