//! Registries, collectors, and functions that compute bucket bounds.

use crate::in_both::collect::Collect;

use super::{Error, debug, idle};

#[derive(Clone, Default)]
pub struct Registry(());

pub fn registry() -> &'static Registry {
    &Registry(())
}

impl Registry {
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }

    idle! { []
        counter_fn(&str, &str, impl Fn() -> f64 + Send + Sync + 'static)
            -> Result<(), Error> = Ok(());
        gauge_fn(&str, &str, impl Fn() -> f64 + Send + Sync + 'static)
            -> Result<(), Error> = Ok(());
        add_collector(&str, impl Collect + 'static) -> Result<(), Error> = Ok(());
        add_constant(&str, &str) -> Result<(), Error> = Ok(());
        set_prefix(&str) -> Result<(), Error> = Ok(());
        remove(&str) -> Result<(), Error> = Ok(());
        contains(&str) -> bool = false;
        names() -> Vec<String> = Vec::new();
        clear();
    }
}

debug!([] Registry = "Registry");

#[derive(Debug, Default)]
pub struct Collected {
    _empty: (),
}

macro_rules! written {
    ($($name:ident($($ty:ty),*);)*) => {$(
        pub fn $name(&mut self, $(_: $ty),*) -> Result<(), Error> {
            Ok(())
        }
    )*};
}

impl Collected {
    written! {
        counter(&str, &str, &[(&str, &str)], f64);
        gauge(&str, &str, &[(&str, &str)], f64);
        gauge_histogram(&str, &str, &[(&str, &str)], &[f64], &[u64], f64);
    }
}

pub fn linear(start: f64, width: f64, count: usize) -> Result<Vec<f64>, Error> {
    Ok((0..count).map(|i| start + width * i as f64).collect())
}

pub fn exponential(start: f64, factor: f64, count: usize) -> Result<Vec<f64>, Error> {
    let bounds = std::iter::successors(Some(start), |bound| Some(bound * factor));
    Ok(bounds.take(count).collect())
}
