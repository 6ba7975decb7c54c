//! The macros of programs that count. [`off`](crate::off) has their twins.

mod async_trait;
mod count_errors;
mod crate_path;
pub(crate) mod derives;
mod event;
pub(crate) mod fallback;
pub(crate) mod instrument;
mod metric;
mod shape;

use proc_macro::TokenStream;
use quote::quote;
use syn::{DeriveInput, parse_macro_input};

pub(crate) fn metric(args: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = metric::expand(args.into(), item.into());
    let expanded = expanded.unwrap_or_else(syn::Error::into_compile_error);
    expanded.into()
}

/// Expands a derive. On an error, implements the same items in a way that compiles, so that the
/// compiler reports nothing but this error.
pub(crate) fn derive(
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
