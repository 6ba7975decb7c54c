//! The derive macros: label sets, label values, and structs of metrics.

use std::collections::HashSet;

use proc_macro::TokenTree;
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::{
    Attribute, Data, DataStruct, DeriveInput, Expr, Field, Fields, GenericParam, Lifetime, LitStr,
    Path, Token, Variant, parse_quote, punctuated::Punctuated, spanned::Spanned,
};

use super::crate_path;
pub(crate) use super::event::event;
use super::metric::help;
use crate::off::{self, snake_case};

pub(crate) fn labels(item: &DeriveInput) -> syn::Result<TokenStream> {
    let what = "`Labels` needs a struct with named fields, which are its labels";
    let fields = named_fields(item, what)?;
    let name = |field: &Field| {
        let name = rename(&field.attrs)?.unwrap_or_else(|| own_name(field));
        check_label(&name)?;
        Ok(name)
    };
    let names = fields.iter().map(name).collect::<syn::Result<Vec<_>>>()?;
    check_distinct(&names, |name| {
        format!("the label name `{name}` is given twice")
    })?;
    let params: Vec<_> = item.generics.params.iter().collect();
    if !matches!(params[..], [] | [GenericParam::Lifetime(_)]) {
        let what = "a label set can have one lifetime parameter and no other generic parameters";
        return Err(syn::Error::new(item.generics.span(), what));
    }
    let tallies = crate_path::from_attrs(&item.attrs, "label")?;
    let types = |life: Lifetime| -> Vec<_> {
        let types = fields.iter().map(|field| &field.ty);
        types.map(|ty| with_lifetimes(item, ty, &life)).collect()
    };
    // Every call names the type of its field, so that the compiler reports an unsuitable type only
    // once.
    let (types, given) = (types(parse_quote!('static)), types(parse_quote!('_)));
    let idents: Vec<_> = fields.iter().map(|field| &field.ident).collect();
    let scratch = quote!(&mut #tallies::label::Scratch::default());
    let items = quote! {
        const NAMES: #tallies::__private::Names = #tallies::__private::Names::Fixed(&[#(#names),*]);
        const VALUES: &'static [&'static [&'static str]] =
            &[#(<#types as #tallies::LabelValue>::VALUES),*];

        #[inline]
        fn with_texts<R>(
            labels: &Self::Borrowed<'_>,
            f: impl ::core::ops::FnOnce(&[&str]) -> R,
        ) -> R {
            f(&[#(<#given as #tallies::LabelValue>::text(&labels.#idents, #scratch)),*])
        }

        #[inline]
        fn dense_index(labels: &Self::Borrowed<'_>) -> usize {
            let index = 0;
            #(let index = index * <#types as #tallies::LabelValue>::VALUES.len()
                + <#given as #tallies::LabelValue>::index(&labels.#idents);)*
            index
        }
    };
    Ok(label_set(item, &tallies, &items))
}

/// Implements the traits of a label set, with these items, for the type with `'static` as each
/// lifetime.
pub(crate) fn label_set(item: &DeriveInput, tallies: &Path, items: &TokenStream) -> TokenStream {
    let name = &item.ident;
    let (_, names, _) = item.generics.split_for_impl();
    let of = with_lifetimes(item, quote!(#name #names), &parse_quote!('static));
    let borrowed = with_lifetimes(item, quote!(#name #names), &parse_quote!('tallies));
    let mut generics = item.generics.clone();
    let is_lifetime = |param: &GenericParam| matches!(param, GenericParam::Lifetime(_));
    let params = generics.params.into_iter();
    generics.params = params.filter(|param| !is_lifetime(param)).collect();
    for param in generics.type_params_mut() {
        param.bounds.push(parse_quote!('static));
    }
    let (params, _, bounds) = generics.split_for_impl();
    let params = with_lifetimes(item, params, &parse_quote!('static));
    let bounds = with_lifetimes(item, bounds, &parse_quote!('static));
    quote! {
        impl #params #tallies::label::LabelSet for #of #bounds {
            type Borrowed<'tallies> = #borrowed;

            #items
        }

        impl #params #tallies::label::NamedLabels for #of #bounds {}
    }
}

pub(crate) fn label_value(item: &DeriveInput) -> syn::Result<TokenStream> {
    const MESSAGE: &str = "`LabelValue` needs an enum whose variants have no fields; implement \
                           the trait by hand for other types";
    let variants = match &item.data {
        Data::Enum(data) if !data.variants.is_empty() && item.generics.params.is_empty() => {
            &data.variants
        }
        _ => return Err(syn::Error::new(item.ident.span(), MESSAGE)),
    };
    let text = |variant: &Variant| {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(syn::Error::new(variant.span(), MESSAGE));
        }
        let own = || {
            let name = snake_case(&variant.ident.to_string());
            LitStr::new(&name, variant.ident.span())
        };
        Ok(rename(&variant.attrs)?.unwrap_or_else(own))
    };
    let texts = variants.iter().map(text);
    let texts = texts.collect::<syn::Result<Vec<_>>>()?;
    check_distinct(&texts, |text| {
        format!("the label value `{text}` is given twice; each variant needs its own")
    })?;
    crate_path::from_attrs(&item.attrs, "label")?;
    Ok(off::label_value(item.to_token_stream().into()).into())
}

pub(crate) fn metrics(item: &DeriveInput) -> syn::Result<TokenStream> {
    let what = "`Metrics` needs a struct with named fields, which are metrics";
    let fields = named_fields(item, what)?;
    let tallies = crate_path::from_attrs(&item.attrs, "metric")?;
    let mut declared = Vec::new();
    for field in fields {
        let (ident, ty, help) = (&field.ident, &field.ty, help(&field.attrs));
        let (name, options) = settings(field, option)?;
        declared.push(quote! {
            #ident: <#ty as #tallies::__private::Declare>::declare(
                #name,
                #help,
                #tallies::__private::FieldOptions {
                    module: ::core::module_path!(),
                    #options
                    ..::core::default::Default::default() },
                registry,
            )?
        });
    }
    let body = quote!(::core::result::Result::Ok(Self { #(#declared),* }));
    Ok(register(item, &tallies, &body))
}

/// Implements the function of a struct of metrics, with this body.
pub(crate) fn register(item: &DeriveInput, tallies: &Path, body: &TokenStream) -> TokenStream {
    let (name, vis) = (&item.ident, &item.vis);
    let (generics, names, bounds) = item.generics.split_for_impl();
    quote! {
        impl #generics #name #names #bounds {
            /// Registers every metric of this struct in a registry.
            ///
            /// # Errors
            ///
            /// Returns the error of the first metric that cannot be registered. The metrics before
            /// it stay registered.
            #[track_caller]
            #vis fn register(
                registry: &#tallies::Registry,
            ) -> ::core::result::Result<Self, #tallies::Error> {
                #body
            }
        }
    }
}

/// Writes a setting other than the name as a field of `FieldOptions`.
fn option(meta: &ParseNestedMeta<'_>) -> syn::Result<TokenStream> {
    let key = &meta.path;
    let value = || meta.value()?.parse::<Expr>();
    match &*key.to_token_stream().to_string() {
        "hot" | "utf8" => Ok(quote!(#key: true,)),
        "unit" | "limit" => value().map(|value| quote!(#key: #value,)),
        "labels" | "buckets" => value().map(|value| quote!(#key: &#value,)),
        _ => Err(meta.error(
            "unknown setting; there are `name`, `unit`, `labels`, `buckets`, `limit`, `hot` and \
             `utf8`",
        )),
    }
}

/// Reads `#[metric(..)]` of a field. Returns the name of the metric, and the other settings as
/// `write` writes them.
pub(crate) fn settings(
    field: &Field,
    write: impl Fn(&ParseNestedMeta<'_>) -> syn::Result<TokenStream>,
) -> syn::Result<(LitStr, TokenStream)> {
    let (mut name, mut settings) = (own_name(field), TokenStream::new());
    let is_metric = |attr: &&Attribute| attr.path().is_ident("metric");
    for attr in field.attrs.iter().filter(is_metric) {
        attr.parse_nested_meta(|meta| {
            match meta.path.is_ident("name") {
                true => name = meta.value()?.parse()?,
                false => settings.extend(write(&meta)?),
            }
            Ok(())
        })?;
    }
    Ok((name, settings))
}

pub(crate) fn named_fields<'a>(
    item: &'a DeriveInput,
    what: &str,
) -> syn::Result<&'a Punctuated<Field, Token![,]>> {
    match &item.data {
        Data::Struct(DataStruct {
            fields: Fields::Named(fields),
            ..
        }) if !fields.named.is_empty() => Ok(&fields.named),
        _ => Err(syn::Error::new(item.ident.span(), what)),
    }
}

/// Returns the name of a named field.
fn own_name(field: &Field) -> LitStr {
    let ident = field.ident.as_ref().expect("named");
    LitStr::new(&ident.unraw().to_string(), ident.span())
}

/// Rejects a text that is given twice. `message` makes the message for it.
fn check_distinct(texts: &[LitStr], message: impl FnOnce(&str) -> String) -> syn::Result<()> {
    let mut seen = HashSet::new();
    match texts.iter().find(|text| !seen.insert(text.value())) {
        Some(text) => Err(syn::Error::new(text.span(), message(&text.value()))),
        None => Ok(()),
    }
}

/// Returns the text of `#[label("text")]`.
fn rename(attrs: &[Attribute]) -> syn::Result<Option<LitStr>> {
    let attr = attrs.iter().find(|attr| attr.path().is_ident("label"));
    attr.map(Attribute::parse_args).transpose()
}

/// Rejects names that no family accepts. The stricter rules depend on whether the family is
/// declared with `utf8`, so the family checks them.
fn check_label(name: &LitStr) -> syn::Result<()> {
    let text = name.value();
    if text.is_empty() || text.contains(|c: char| matches!(c, '"' | '\\') || c.is_control()) {
        let what = "a label name must not be empty or contain `\"`, `\\` or a control character";
        return Err(syn::Error::new(name.span(), what));
    }
    if text.starts_with("__") {
        let what = format!("label name `{text}` is reserved, because it begins with `__`");
        return Err(syn::Error::new(name.span(), what));
    }
    Ok(())
}

/// Replaces every lifetime parameter of `item` in `part` with `life`.
fn with_lifetimes(item: &DeriveInput, part: impl ToTokens, life: &Lifetime) -> TokenStream {
    let is_param = |name: &str| {
        let mut params = item.generics.lifetimes();
        params.any(|param| param.lifetime.ident == name)
    };
    let replaced = off::rebuild(part.into_token_stream().into(), &|out, token| {
        let is_quoted = matches!(out.last(), Some(TokenTree::Punct(p)) if p.as_char() == '\'');
        match &token {
            TokenTree::Ident(name) if is_quoted && is_param(&name.to_string()) => {
                out.pop();
                out.extend(proc_macro::TokenStream::from(life.to_token_stream()));
            }
            _ => out.push(token),
        }
    });
    replaced.into()
}
