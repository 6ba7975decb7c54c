//! Shapes of functions. Each macro receives the attributes, declares a function under them, and
//! calls it.

mod functions;
mod futures;
mod traits;

#[derive(Debug)]
pub struct Bad;
type R<T> = Result<T, Bad>;

impl From<Bad> for Box<dyn std::error::Error> {
    fn from(_: Bad) -> Self {
        "bad".into()
    }
}

fn bad(is: bool) -> R<u8> {
    if is { Err(Bad) } else { Ok(1) }
}
