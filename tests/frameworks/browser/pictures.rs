//! Pictures of the page, for `docs/images`: `PICTURES=docs/images cargo test … --test browser
//! pictures`. Without that variable, the program behind them is only looked at.
