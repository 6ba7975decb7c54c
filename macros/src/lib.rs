//! The attribute and derive macros of the `tallies` crate. Use them through that crate, for example
//! as `tallies::metric` and `tallies::Labels`.

#![deny(missing_docs, unreachable_pub)]

mod off;
#[cfg(feature = "enabled")]
mod on;

use proc_macro::TokenStream;

/// Documented at its re-export, `tallies::metric`.
#[cfg(feature = "enabled")]
#[proc_macro_attribute]
pub fn metric(args: TokenStream, item: TokenStream) -> TokenStream {
    on::metric(args, item)
}

/// `tallies::metric` without the feature `enabled`.
#[proc_macro_attribute]
pub fn off_metric(_: TokenStream, item: TokenStream) -> TokenStream {
    off::metric(item)
}

// Each macro has a twin for programs that do not count. It has a name of its own, because cargo
// builds this crate once for a build script that does not count and a program that does.

/// Defines derives and their twins.
macro_rules! derives {
    ($($Derive:ident, $OffDerive:ident($attribute:ident): $name:ident, $off:ident;)*) => {$(
        #[doc = concat!("Documented at its re-export, `tallies::", stringify!($Derive), "`.")]
        #[cfg(feature = "enabled")]
        #[proc_macro_derive($Derive, attributes($attribute))]
        pub fn $name(item: TokenStream) -> TokenStream {
            on::derive(item, on::derives::$name, on::fallback::$name)
        }

        #[doc = concat!("`tallies::", stringify!($Derive), "` without the feature `enabled`.")]
        #[proc_macro_derive($OffDerive, attributes($attribute))]
        pub fn $off(item: TokenStream) -> TokenStream {
            off::$name(item)
        }
    )*};
}

derives! {
    Labels, OffLabels(label): labels, off_labels;
    LabelValue, OffLabelValue(label): label_value, off_label_value;
    Metrics, OffMetrics(metric): metrics, off_metrics;
    Event, OffEvent(metric): event, off_event;
}

/// Defines measuring attributes and their twins.
macro_rules! measuring {
    ($($name:ident, $off:ident;)*) => {$(
        #[doc = concat!("Documented at its re-export, `tallies::", stringify!($name), "`.")]
        #[cfg(feature = "enabled")]
        #[proc_macro_attribute]
        pub fn $name(args: TokenStream, item: TokenStream) -> TokenStream {
            on::instrument::expand(stringify!($name), args.into(), item.into()).into()
        }

        #[doc = concat!("`tallies::", stringify!($name), "` without the feature `enabled`.")]
        #[proc_macro_attribute]
        pub fn $off(args: TokenStream, item: TokenStream) -> TokenStream {
            off::measure(stringify!($name), args, item)
        }
    )*};
}

measuring! {
    timed, off_timed;
    in_progress, off_in_progress;
    count, off_count;
    count_errors, off_count_errors;
}
