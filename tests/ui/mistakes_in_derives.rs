//! One error for each mistake, and none where the types are used.

use tallies::{Counter, LabelValue, Labels, Metrics, Registry};

#[derive(Labels)]
struct Reserved {
    __name: u16,
}

#[derive(Labels)]
struct Twice<'a> {
    #[label("route")]
    path: &'a str,
    route: &'a str,
}

#[derive(Labels)]
struct Generic<'a, 'b: 'a, T: Copy + 'a = u16, const N: usize = 1>
where
    T: 'b,
{
    a: &'a str,
    b: &'b [T; N],
}

#[derive(LabelValue)]
enum Status<'a> {
    Ok,
    Other(&'a str),
}

#[derive(LabelValue)]
enum Nothing {}

#[derive(LabelValue)]
struct Code(u16);

#[derive(Labels)]
struct Answer<'a> {
    status: Status<'a>,
    nothing: Option<Nothing>,
    code: Code,
}

#[derive(Metrics)]
struct Jobs(Counter);

static RESERVED: Counter<Reserved> = Counter::new("reserved_total");
static TWICE: Counter<Twice> = Counter::new("twice_total");
static GENERIC: Counter<Generic> = Counter::new("generic_total");
static ANSWERS: Counter<Answer> = Counter::new("answers_total");

fn main() {
    RESERVED.with(Reserved { __name: 1 }).inc();
    let route = String::from("/");
    TWICE.with(Twice { path: &route, route: "/" }).inc();
    GENERIC.with(Generic { a: &route, b: &[1] }).inc();
    for status in [Status::Ok, Status::Other(&route)] {
        ANSWERS.with(Answer { status, nothing: None, code: Code(1) }).inc();
    }
    Jobs::register(&Registry::new()).unwrap().0.inc();
}
