//! The values of counters: integers or floats.

/// The value of a counter: an exact integer, or a float.
///
/// ```
/// use tallies::snapshot::Number;
///
/// let registry = tallies::Registry::new();
/// registry.counter("jobs_total", "Jobs done.")?.add(3);
/// assert_eq!(registry.snapshot().get("jobs_total", &[]), Some(Number::Int(3).as_f64()));
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(untagged))]
pub enum Number {
    /// The value of an integer counter. It wraps at 2⁶⁴, which readers treat as a restart.
    Int(u64),
    /// The value of a float counter.
    Float(f64),
}

impl Number {
    /// Returns the value as a float. Integers above 2⁵³ are rounded.
    ///
    /// ```
    /// assert_eq!(tallies::snapshot::Number::Int(3).as_f64(), 3.0);
    /// ```
    #[must_use]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Int(n) => n as f64,
            Self::Float(x) => x,
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Self::Int(a.wrapping_add(b)),
            (a, b) => Self::Float(a.as_f64() + b.as_f64()),
        }
    }

    /// Returns the increase since `before`, or `None` for a counter that went down.
    ///
    /// Floats that were added in another order may differ in their last bits, which is no decrease.
    pub(super) fn since(self, before: Self) -> Option<Self> {
        const ROUNDING: f64 = 1e-12;
        match (self, before) {
            (Self::Int(now), Self::Int(before)) => now.checked_sub(before).map(Self::Int),
            (now, before) => {
                let (now, before) = (now.as_f64(), before.as_f64());
                if now >= before {
                    return Some(Self::Float(now - before));
                }
                (before - now <= before * ROUNDING).then_some(Self::Float(0.0))
            }
        }
    }
}

/// The values of a family's series, all of one type so that they are compact. One float converts
/// all of them to floats.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Numbers {
    Int(Vec<u64>),
    Float(Vec<f64>),
}

impl Default for Numbers {
    fn default() -> Self {
        Self::Int(Vec::new())
    }
}

impl Numbers {
    #[inline]
    pub(crate) fn push(&mut self, number: Number) {
        match (&mut *self, number) {
            (Self::Int(all), Number::Int(n)) => all.push(n),
            (Self::Float(all), number) => all.push(number.as_f64()),
            (Self::Int(all), Number::Float(x)) => {
                let mut floats = Vec::with_capacity(all.capacity());
                floats.extend(all.iter().map(|n| *n as f64));
                floats.push(x);
                *self = Self::Float(floats);
            }
        }
    }

    #[inline]
    pub(crate) fn extend(&mut self, numbers: impl ExactSizeIterator<Item = Number> + Clone) {
        let is_int = |number| matches!(number, Number::Int(_));
        match self {
            Self::Int(all) if numbers.clone().all(is_int) => {
                all.extend(numbers.map(|number| match number {
                    Number::Int(n) => n,
                    Number::Float(x) => x as u64,
                }));
            }
            _ => numbers.for_each(|number| self.push(number)),
        }
    }

    pub(crate) fn get(&self, i: usize) -> Number {
        match self {
            Self::Int(all) => Number::Int(all[i]),
            Self::Float(all) => Number::Float(all[i]),
        }
    }

    pub(super) fn set(&mut self, i: usize, number: Number) {
        match (&mut *self, number) {
            (Self::Int(all), Number::Int(n)) => all[i] = n,
            (Self::Float(all), number) => all[i] = number.as_f64(),
            (Self::Int(all), Number::Float(x)) => {
                let mut floats: Vec<_> = all.iter().map(|n| *n as f64).collect();
                floats[i] = x;
                *self = Self::Float(floats);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Int(all) => all.len(),
            Self::Float(all) => all.len(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        8 * match self {
            Self::Int(all) => all.capacity(),
            Self::Float(all) => all.capacity(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_the_same_floats_in_another_order_did_not_go_down() {
        let since = |now, before| Number::Float(now).since(Number::Float(before));
        assert_eq!(
            since(0.3 + 0.2 + 0.1, 0.1 + 0.2 + 0.3),
            Some(Number::Float(0.0))
        );
        assert_eq!(since(3.0, 3.0001), None);
    }

    #[test]
    fn one_float_makes_floats_of_all() {
        let mut numbers = Numbers::default();
        numbers.push(Number::Int(u64::MAX));
        assert_eq!(numbers.get(0), Number::Int(u64::MAX));
        numbers.push(Number::Float(0.5));
        assert_eq!((numbers.len(), numbers.get(1)), (2, Number::Float(0.5)));
        assert_eq!(numbers.get(0), Number::Float(u64::MAX as f64));
        numbers.set(0, Number::Int(7));
        assert_eq!(numbers.get(0), Number::Float(7.0));
        let mut numbers = Numbers::Int(vec![1, 2]);
        numbers.set(1, Number::Float(0.25));
        assert_eq!(
            (numbers.get(0), numbers.get(1)),
            (Number::Float(1.0), Number::Float(0.25))
        );
    }
}
