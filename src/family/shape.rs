//! The checks of what gives a family's cells their shape: buckets and windows.

use std::time::Duration;

use crate::error::SettingRule;

/// Returns the bounds without a last bound of `+Inf`, which every histogram has.
pub(crate) const fn without_infinity(bounds: &[f64]) -> &[f64] {
    match bounds {
        [rest @ .., f64::INFINITY] => rest,
        _ => bounds,
    }
}

/// Checks that bounds are finite and ascend. The `+Inf` bound is implied.
pub(crate) const fn check_bounds(bounds: &[f64]) -> Result<(), SettingRule> {
    if bounds.is_empty() || matches!(bounds, [f64::NEG_INFINITY]) {
        return Err(SettingRule::Empty);
    }
    if bounds.len() >= crate::observe::MOST_BUCKETS {
        return Err(SettingRule::TooMany(bounds.len()));
    }
    let mut i = 0;
    while i < bounds.len() {
        if !bounds[i].is_finite() {
            return Err(SettingRule::NotFinite(bounds[i]));
        }
        if i > 0 && bounds[i - 1] >= bounds[i] {
            return Err(SettingRule::Order(bounds[i], bounds[i - 1], i));
        }
        i += 1;
    }
    Ok(())
}

/// The default number of ages of a window: a fifth of the window is dropped at a time.
pub(crate) const DEFAULT_AGES: u32 = 5;

/// Checks a window. With these limits an age lasts at least a millisecond. With two ages or more,
/// the latest observations are in another age than the one that is dropped.
pub(crate) const fn check_window(
    max_age: Option<Duration>,
    ages: Option<u32>,
) -> Result<(), SettingRule> {
    match (max_age, ages) {
        (Some(max_age), _) if max_age.as_millis() < 100 => Err(SettingRule::TooShort(max_age)),
        (Some(_), Some(ages)) if ages < 2 || ages > 60 => Err(SettingRule::Ages(ages)),
        (None, Some(ages)) => Err(SettingRule::AgesAlone(ages)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        assert!(check_bounds(&[1.0, 2.0]).is_ok());
        for bad in [
            &[][..],
            &[2.0, 1.0],
            &[1.0, 1.0],
            &[f64::NAN],
            &[1.0, f64::INFINITY],
        ] {
            assert!(check_bounds(bad).is_err(), "{bad:?}");
        }
    }
}
