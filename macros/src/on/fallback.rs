//! Implementations for derives that fail. They compile and never run, so that the compiler reports
//! the mistake and no errors that follow from it, such as a missing trait where the type is used.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Path};

use super::crate_path;
use super::derives::{label_set, register};
pub(crate) use super::event::failed as event;

/// Implements the traits of `#[derive(Labels)]`, with no labels.
pub(crate) fn labels(item: &DeriveInput) -> TokenStream {
    let items = quote! {
        fn with_texts<R>(_: &Self::Borrowed<'_>, f: impl ::core::ops::FnOnce(&[&str]) -> R) -> R {
            f(&[])
        }
    };
    label_set(item, &tallies(item, "label"), &items)
}

/// Implements the trait of `#[derive(LabelValue)]`, with an empty text.
pub(crate) fn label_value(item: &DeriveInput) -> TokenStream {
    let tallies = tallies(item, "label");
    let (generics, names, bounds) = item.generics.split_for_impl();
    let name = &item.ident;
    quote! {
        impl #generics #tallies::LabelValue for #name #names #bounds {
            fn text<'tallies>(
                &'tallies self,
                _: &'tallies mut #tallies::label::Scratch,
            ) -> &'tallies str {
                ""
            }
        }
    }
}

/// Implements the function of `#[derive(Metrics)]`, which registers nothing.
pub(crate) fn metrics(item: &DeriveInput) -> TokenStream {
    let body = quote! {
        let _ = registry;
        ::core::unreachable!("the derive failed")
    };
    register(item, &tallies(item, "metric"), &body)
}

/// Returns the path of the `tallies` crate. The mistake may be in the attribute that sets it.
pub(crate) fn tallies(item: &DeriveInput, helper: &str) -> Path {
    crate_path::from_attrs(&item.attrs, helper).unwrap_or_else(|_| crate_path::default())
}
