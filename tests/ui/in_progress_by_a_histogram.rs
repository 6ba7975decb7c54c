static T: tallies::Histogram = tallies::Histogram::new("t_seconds");

#[tallies::in_progress(T)]
async fn f() {}

fn main() {}
