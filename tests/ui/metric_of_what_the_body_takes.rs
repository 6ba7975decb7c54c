static E: tallies::Counter = tallies::Counter::new("e_total");

struct Host {
    time: tallies::Histogram,
    errors: tallies::Counter,
}

impl Host {
    #[tallies::timed(self.time)]
    fn give(self) -> Self {
        self
    }

    #[tallies::timed(self.time)]
    fn change(&mut self) {
        self.reset();
    }

    #[tallies::count_errors(E)]
    #[tallies::count_errors(self.errors)]
    async fn change_later(&mut self) -> Result<(), ()> {
        self.reset();
        Ok(())
    }

    fn reset(&mut self) {}
}

fn main() {}
