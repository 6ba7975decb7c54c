//! The attribute and derive macros of the `tallies` crate. Use them through that crate, for example
//! as `tallies::metric` and `tallies::Labels`.

#![deny(missing_docs, unreachable_pub)]

mod async_trait;
mod count_errors;
mod crate_path;
mod derives;
mod fallback;
mod instrument;
mod metric;
mod shape;
mod tokens;

use proc_macro::TokenStream;
use quote::quote;
use syn::{DeriveInput, parse_macro_input};

/// Documented at its re-export, `tallies::metric`.
#[proc_macro_attribute]
pub fn metric(args: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = metric::expand(args.into(), item.into());
    let expanded = expanded.unwrap_or_else(syn::Error::into_compile_error);
    expanded.into()
}

/// Documented at its re-export, `tallies::Labels`.
#[proc_macro_derive(Labels, attributes(label))]
pub fn labels(item: TokenStream) -> TokenStream {
    derive(item, derives::labels, fallback::labels)
}

/// Documented at its re-export, `tallies::LabelValue`.
#[proc_macro_derive(LabelValue, attributes(label))]
pub fn label_value(item: TokenStream) -> TokenStream {
    derive(item, derives::label_value, fallback::label_value)
}

/// Documented at its re-export, `tallies::Metrics`.
#[proc_macro_derive(Metrics, attributes(metric))]
pub fn metrics(item: TokenStream) -> TokenStream {
    derive(item, derives::metrics, fallback::metrics)
}

/// Documented at its re-export, `tallies::timed`.
#[proc_macro_attribute]
pub fn timed(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&instrument::TIMED, args.into(), item.into()).into()
}

/// Documented at its re-export, `tallies::in_progress`.
#[proc_macro_attribute]
pub fn in_progress(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&instrument::IN_PROGRESS, args.into(), item.into()).into()
}

/// Documented at its re-export, `tallies::count`.
#[proc_macro_attribute]
pub fn count(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&instrument::COUNT, args.into(), item.into()).into()
}

/// Documented at its re-export, `tallies::count_errors`.
#[proc_macro_attribute]
pub fn count_errors(args: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(&instrument::COUNT_ERRORS, args.into(), item.into()).into()
}

/// Expands a derive. On an error, implements the same items in a way that compiles, so that the
/// compiler reports nothing but this error.
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
