//! The numbers that gauges take.

/// A value of a gauge: an integer or a float. An integer beyond 2⁵³ is rounded.
///
/// ```
/// static QUEUE: tallies::Gauge = tallies::Gauge::new("waiting_jobs");
///
/// fn update(queue: &[String]) {
///     QUEUE.set(queue.len());
/// }
/// # update(&[]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a value of a gauge",
    label = "neither an integer nor a float",
    note = "integers and floats are; a duration is set in seconds: `set(duration.as_secs_f64())`"
)]
#[expect(private_bounds, reason = "sealed: gauges have floats")]
pub trait GaugeValue: IntoF64 {}

pub(crate) trait IntoF64 {
    fn into_f64(self) -> f64;
}

macro_rules! gauge_values {
    ($($ty:ident)*) => {$(
        impl GaugeValue for $ty {}

        impl IntoF64 for $ty {
            #[inline(always)]
            fn into_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}

gauge_values!(f64 f32 u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);
