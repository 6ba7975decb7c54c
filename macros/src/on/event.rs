//! The derive macro of events: structs whose fields count in metrics.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::{DeriveInput, Expr, Field, Path};

use super::crate_path;
use super::derives::{named_fields, settings};
use super::fallback;
use super::metric::{help, is_type};

pub(crate) fn event(item: &DeriveInput) -> syn::Result<TokenStream> {
    let what = "`Event` needs a struct with named fields: a `u64` for each counter, and at most \
                one `f64` or `Duration` for a histogram";
    let fields = named_fields(item, what)?;
    let tallies = crate_path::from_attrs(&item.attrs, "metric")?;
    let is_counter = |field: &&Field| is_type(&field.ty, &["u64"]);
    let mut histograms = fields.iter().filter(|field| !is_counter(field));
    let observed = histograms.next();
    if let Some(second) = histograms.next() {
        let message = "an event observes one value at most; a counter is a `u64`";
        return Err(syn::Error::new_spanned(&second.ty, message));
    }
    let metrics = fields.iter().map(|field| {
        let kind = if is_counter(&field) {
            quote!(counter)
        } else {
            quote!(histogram)
        };
        metric(field, &kind, &tallies)
    });
    let metrics = metrics.collect::<syn::Result<Vec<_>>>()?;
    let counters = fields.iter().filter(is_counter).map(|field| &field.ident);
    let counts: Vec<_> = counters.map(|field| quote!(self.#field)).collect();
    let observed = match observed.and_then(|field| field.ident.as_ref()) {
        Some(field) => quote_spanned! {field.span()=>
            #tallies::event::EventValue::value(&self.#field)
        },
        None => quote!(::core::option::Option::None),
    };
    Ok(implement(item, &tallies, &metrics, &counts, &observed))
}

/// Implements `Event` with these metrics and expressions.
fn implement(
    item: &DeriveInput,
    tallies: &Path,
    metrics: &[TokenStream],
    counts: &[TokenStream],
    observed: &TokenStream,
) -> TokenStream {
    let (name, count) = (&item.ident, counts.len());
    let (generics, names, bounds) = item.generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #generics #tallies::event::Event for #name #names #bounds {
            const METRICS: &'static [#tallies::event::EventMetric] = &[#(#metrics),*];

            type Counts = [u64; #count];

            #[inline(always)]
            fn counts(&self) -> [u64; #count] {
                [#(#counts),*]
            }

            #[inline(always)]
            fn observed(&self) -> ::core::option::Option<f64> {
                #observed
            }
        }
    }
}

/// Returns the description of a field's metric.
fn metric(field: &Field, kind: &TokenStream, tallies: &Path) -> syn::Result<TokenStream> {
    let (name, settings) = settings(field, |meta| {
        let value = || meta.value()?.parse::<Expr>();
        match &*meta.path.to_token_stream().to_string() {
            "unit" => value().map(|unit| quote!(.unit(#unit))),
            "buckets" => value().map(|bounds| quote!(.buckets(&#bounds))),
            _ => Err(meta.error("unknown setting; there are `name`, `unit` and `buckets`")),
        }
    })?;
    let help = help(&field.attrs);
    Ok(quote!(#tallies::event::EventMetric::#kind(#name).help(#help)#settings))
}

/// Implements `Event` with nothing, for a struct whose derive failed.
pub(crate) fn failed(item: &DeriveInput) -> TokenStream {
    let tallies = fallback::tallies(item, "metric");
    let metric = quote!(#tallies::event::EventMetric::counter("failed"));
    let observed = quote!(::core::option::Option::None);
    implement(item, &tallies, &[metric], &[quote!(0)], &observed)
}
