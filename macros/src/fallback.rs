//! Implementations for derives that fail. They compile and never run, so that the compiler reports
//! the mistake and no errors that follow from it, such as a missing trait where the type is used.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{DeriveInput, GenericParam, Lifetime, Path, parse_quote};

use crate::crate_path;
use crate::derives::replace_lifetime;

/// Implements the traits of `#[derive(Labels)]`, with no labels.
pub(crate) fn labels(item: &DeriveInput) -> TokenStream {
    let tallies = tallies(item, "label");
    let name = &item.ident;
    let (_, names, _) = item.generics.split_for_impl();
    let of = with_lifetimes(item, quote!(#name #names), &parse_quote!('static));
    let borrowed = with_lifetimes(item, quote!(#name #names), &parse_quote!('tallies));
    let mut generics = item.generics.clone();
    let is_lifetime = |param: &GenericParam| matches!(param, GenericParam::Lifetime(_));
    generics.params = generics
        .params
        .into_iter()
        .filter(|param| !is_lifetime(param))
        .collect();
    for param in generics.type_params_mut() {
        param.bounds.push(parse_quote!('static));
    }
    let (params, _, bounds) = generics.split_for_impl();
    let params = with_lifetimes(item, params, &parse_quote!('static));
    let bounds = with_lifetimes(item, bounds, &parse_quote!('static));
    quote! {
        impl #params #tallies::label::LabelSet for #of #bounds {
            type Borrowed<'tallies> = #borrowed;

            fn with_texts<R>(
                _: &Self::Borrowed<'_>,
                f: impl ::core::ops::FnOnce(&[&str]) -> R,
            ) -> R {
                f(&[])
            }
        }

        impl #params #tallies::label::NamedLabels for #of #bounds {}
    }
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
    let tallies = tallies(item, "metric");
    let (generics, names, bounds) = item.generics.split_for_impl();
    let name = &item.ident;
    let vis = &item.vis;
    quote! {
        impl #generics #name #names #bounds {
            #vis fn register(
                _: &#tallies::Registry,
            ) -> ::core::result::Result<Self, #tallies::Error> {
                ::core::unreachable!("the derive failed")
            }
        }
    }
}

/// Returns the path of the `tallies` crate. The mistake may be in the attribute that sets it.
fn tallies(item: &DeriveInput, helper: &str) -> Path {
    crate_path::from_attrs(&item.attrs, helper).unwrap_or_else(|_| crate_path::default())
}

/// Replaces every lifetime parameter of `item` in `part` with `life`.
fn with_lifetimes(item: &DeriveInput, part: impl ToTokens, life: &Lifetime) -> TokenStream {
    item.generics
        .lifetimes()
        .fold(part.into_token_stream(), |tokens, param| {
            replace_lifetime(tokens, &param.lifetime.ident, life)
        })
}
