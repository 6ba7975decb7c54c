//! The attribute and derive macros of the `tallies` crate. Use them through that crate, for example
//! as `tallies::metric` and `tallies::Labels`.

#![deny(missing_docs, unreachable_pub)]

#[cfg(feature = "enabled")]
mod async_trait;
#[cfg(feature = "enabled")]
mod count_errors;
#[cfg(feature = "enabled")]
mod crate_path;
#[cfg(feature = "enabled")]
mod derives;
#[cfg(feature = "enabled")]
mod event;
#[cfg(feature = "enabled")]
mod fallback;
#[cfg(feature = "enabled")]
mod instrument;
#[cfg(feature = "enabled")]
mod metric;
mod off;
#[cfg(feature = "enabled")]
mod shape;
#[cfg(feature = "enabled")]
mod tokens;

use proc_macro::TokenStream;
#[cfg(feature = "enabled")]
use quote::quote;
#[cfg(feature = "enabled")]
use syn::{DeriveInput, parse_macro_input};

/// Documented at its re-export, `tallies::metric`.
#[cfg(feature = "enabled")]
#[proc_macro_attribute]
pub fn metric(args: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = metric::expand(args.into(), item.into());
    let expanded = expanded.unwrap_or_else(syn::Error::into_compile_error);
    expanded.into()
}

/// Documented at its re-export, `tallies::Labels`.
#[cfg(feature = "enabled")]
#[proc_macro_derive(Labels, attributes(label))]
pub fn labels(item: TokenStream) -> TokenStream {
    derive(item, derives::labels, fallback::labels)
}

/// Documented at its re-export, `tallies::LabelValue`.
#[cfg(feature = "enabled")]
#[proc_macro_derive(LabelValue, attributes(label))]
pub fn label_value(item: TokenStream) -> TokenStream {
    derive(item, derives::label_value, fallback::label_value)
}

/// Documented at its re-export, `tallies::Metrics`.
#[cfg(feature = "enabled")]
#[proc_macro_derive(Metrics, attributes(metric))]
pub fn metrics(item: TokenStream) -> TokenStream {
    derive(item, derives::metrics, fallback::metrics)
}

/// Documented at its re-export, `tallies::event::Event`.
#[cfg(feature = "enabled")]
#[proc_macro_derive(Event, attributes(metric))]
pub fn event(item: TokenStream) -> TokenStream {
    derive(item, event::event, event::fallback)
}

/// Documented at its re-export, `tallies::timed`.
#[cfg(feature = "enabled")]
#[proc_macro_attribute]
pub fn timed(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&instrument::TIMED, args.into(), item.into()).into()
}

/// Documented at its re-export, `tallies::in_progress`.
#[cfg(feature = "enabled")]
#[proc_macro_attribute]
pub fn in_progress(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&instrument::IN_PROGRESS, args.into(), item.into()).into()
}

/// Documented at its re-export, `tallies::count`.
#[cfg(feature = "enabled")]
#[proc_macro_attribute]
pub fn count(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&instrument::COUNT, args.into(), item.into()).into()
}

/// Documented at its re-export, `tallies::count_errors`.
#[cfg(feature = "enabled")]
#[proc_macro_attribute]
pub fn count_errors(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&instrument::COUNT_ERRORS, args.into(), item.into()).into()
}

/// Expands a derive. On an error, implements the same items in a way that compiles, so that the
/// compiler reports nothing but this error.
#[cfg(feature = "enabled")]
fn derive(
    item: TokenStream,
    expand: fn(&DeriveInput) -> syn::Result<proc_macro2::TokenStream>,
    fallback: fn(&DeriveInput) -> proc_macro2::TokenStream,
) -> TokenStream {
    let item = parse_macro_input!(item as DeriveInput);
    let expanded = expand(&item).unwrap_or_else(|error| {
        let (error, fallback) = (error.into_compile_error(), fallback(&item));
        quote!(#error #fallback)
    });
    expanded.into()
}

// The twins of all of them for programs that do not count. They have names of their own, because
// cargo builds this crate once for a build script that does not count and a program that does.

/// `tallies::metric` without the feature `enabled`.
#[proc_macro_attribute]
pub fn off_metric(_: TokenStream, item: TokenStream) -> TokenStream {
    off::metric(item)
}

/// `tallies::Labels` without the feature `enabled`.
#[proc_macro_derive(OffLabels, attributes(label))]
pub fn off_labels(item: TokenStream) -> TokenStream {
    off::labels(item)
}

/// `tallies::LabelValue` without the feature `enabled`.
#[proc_macro_derive(OffLabelValue, attributes(label))]
pub fn off_label_value(item: TokenStream) -> TokenStream {
    off::label_value(item)
}

/// `tallies::Metrics` without the feature `enabled`.
#[proc_macro_derive(OffMetrics, attributes(metric))]
pub fn off_metrics(item: TokenStream) -> TokenStream {
    off::metrics(item)
}

/// `tallies::event::Event` without the feature `enabled`.
#[proc_macro_derive(OffEvent, attributes(metric))]
pub fn off_event(item: TokenStream) -> TokenStream {
    off::event(item)
}

/// `tallies::timed` without the feature `enabled`.
#[proc_macro_attribute]
pub fn off_timed(args: TokenStream, item: TokenStream) -> TokenStream {
    off::measure(off::TIMED, args, item)
}

/// `tallies::in_progress` without the feature `enabled`.
#[proc_macro_attribute]
pub fn off_in_progress(args: TokenStream, item: TokenStream) -> TokenStream {
    off::measure(off::IN_PROGRESS, args, item)
}

/// `tallies::count` without the feature `enabled`.
#[proc_macro_attribute]
pub fn off_count(args: TokenStream, item: TokenStream) -> TokenStream {
    off::measure(off::COUNT, args, item)
}

/// `tallies::count_errors` without the feature `enabled`.
#[proc_macro_attribute]
pub fn off_count_errors(args: TokenStream, item: TokenStream) -> TokenStream {
    off::measure(off::COUNT_ERRORS, args, item)
}
