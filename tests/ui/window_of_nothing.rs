use std::time::Duration;

use tallies::Summary;

static NONE: Summary = Summary::new("s").max_age(Duration::ZERO);
static ONE: Summary = Summary::new("s").max_age(Duration::from_secs(60)).ages(1);
static ALONE: Summary = Summary::new("s").ages(5);

fn main() {}
