//! The derive macros: label sets, label values, and structs of metrics.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::{
    Attribute, Data, DeriveInput, Expr, Field, Fields, GenericParam, Ident, Lifetime, LitStr,
    Token, parse_quote, punctuated::Punctuated, spanned::Spanned,
};

use crate::crate_path;
use crate::metric::help;

pub(crate) fn labels(item: &DeriveInput) -> syn::Result<TokenStream> {
    let fields = named_fields(
        item,
        "`Labels` needs a struct with named fields, which are its labels",
    )?;
    let names = fields
        .iter()
        .map(|field| {
            let ident = field.ident.as_ref().expect("named");
            let name = rename(&field.attrs)?
                .unwrap_or_else(|| LitStr::new(&ident.unraw().to_string(), ident.span()));
            check_label(&name)?;
            Ok(name)
        })
        .collect::<syn::Result<Vec<_>>>()?;
    for (i, name) in names.iter().enumerate() {
        if names[..i].iter().any(|other| other.value() == name.value()) {
            return Err(syn::Error::new(
                name.span(),
                format!("the label name `{}` is given twice", name.value()),
            ));
        }
    }
    let lifetime = match item.generics.params.iter().collect::<Vec<_>>()[..] {
        [] => None,
        [GenericParam::Lifetime(one)] => Some(one.lifetime.clone()),
        _ => {
            return Err(syn::Error::new(
                item.generics.span(),
                "a label set can have one lifetime parameter and no other generic parameters",
            ));
        }
    };
    let tallies = crate_path::from_attrs(&item.attrs, "label")?;
    let name = &item.ident;
    let (of, borrowed) = match &lifetime {
        Some(_) => (quote!(#name<'static>), quote!(#name<'tallies>)),
        None => (quote!(#name), quote!(#name)),
    };
    let types = |life: Lifetime| -> Vec<_> {
        let types = fields.iter().map(|field| {
            let tokens = field.ty.to_token_stream();
            match &lifetime {
                Some(lifetime) => replace_lifetime(tokens, &lifetime.ident, &life),
                None => tokens,
            }
        });
        types.collect()
    };
    // Every call names the type of its field, so that the compiler reports an unsuitable type only
    // once.
    let (types, given) = (types(parse_quote!('static)), types(parse_quote!('_)));
    let idents: Vec<_> = fields.iter().map(|field| &field.ident).collect();
    let scratches: Vec<_> = (0..fields.len())
        .map(|i| format_ident!("scratch{i}"))
        .collect();
    Ok(quote! {
        impl #tallies::label::LabelSet for #of {
            type Borrowed<'tallies> = #borrowed;

            const NAMES: #tallies::__private::Names = #tallies::__private::Names::Fixed(&[#(#names),*]);
            const VALUES: &'static [&'static [&'static str]] =
                &[#(<#types as #tallies::LabelValue>::VALUES),*];
            const DENSE: usize = #tallies::__private::dense(
                &[#(<#types as #tallies::LabelValue>::VALUES.len()),*]
            );

            #[inline]
            fn with_texts<R>(
                labels: &Self::Borrowed<'_>,
                f: impl ::core::ops::FnOnce(&[&str]) -> R,
            ) -> R {
                #(let mut #scratches = #tallies::label::Scratch::default();)*
                f(&[#(<#given as #tallies::LabelValue>::text(&labels.#idents, &mut #scratches)),*])
            }

            #[inline]
            fn dense_index(labels: &Self::Borrowed<'_>) -> usize {
                let index = 0;
                #(let index = index * <#types as #tallies::LabelValue>::VALUES.len()
                    + <#given as #tallies::LabelValue>::index(&labels.#idents);)*
                index
            }

            fn dense_texts(index: usize) -> ::std::vec::Vec<&'static str> {
                #tallies::__private::dense_texts(
                    index,
                    &[#(<#types as #tallies::LabelValue>::VALUES),*],
                )
            }
        }

        impl #tallies::label::NamedLabels for #of {}
    })
}

pub(crate) fn label_value(item: &DeriveInput) -> syn::Result<TokenStream> {
    const MESSAGE: &str = "`LabelValue` needs an enum whose variants have no fields; implement \
                           the trait by hand for other types";
    let Data::Enum(data) = &item.data else {
        return Err(syn::Error::new(item.ident.span(), MESSAGE));
    };
    if data.variants.is_empty() || !item.generics.params.is_empty() {
        return Err(syn::Error::new(item.ident.span(), MESSAGE));
    }
    let mut texts = Vec::<LitStr>::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(syn::Error::new(variant.span(), MESSAGE));
        }
        let text = rename(&variant.attrs)?.unwrap_or_else(|| {
            LitStr::new(
                &snake_case(&variant.ident.unraw().to_string()),
                variant.ident.span(),
            )
        });
        if texts.iter().any(|other| other.value() == text.value()) {
            return Err(syn::Error::new(
                text.span(),
                format!(
                    "the label value `{}` is given twice; each variant needs its own",
                    text.value()
                ),
            ));
        }
        texts.push(text);
    }
    let tallies = crate_path::from_attrs(&item.attrs, "label")?;
    let name = &item.ident;
    let variants: Vec<_> = data.variants.iter().map(|variant| &variant.ident).collect();
    let indices = 0..variants.len();
    Ok(quote! {
        impl #tallies::LabelValue for #name {
            const VALUES: &'static [&'static str] = &[#(#texts),*];

            #[inline]
            fn text<'a>(&'a self, _: &'a mut #tallies::label::Scratch) -> &'a str {
                match self {
                    #(Self::#variants => #texts,)*
                }
            }

            #[inline]
            fn index(&self) -> usize {
                match self {
                    #(Self::#variants => #indices,)*
                }
            }
        }
    })
}

pub(crate) fn metrics(item: &DeriveInput) -> syn::Result<TokenStream> {
    let fields = named_fields(
        item,
        "`Metrics` needs a struct with named fields, which are metrics",
    )?;
    let tallies = crate_path::from_attrs(&item.attrs, "metric")?;
    let mut declared = Vec::new();
    for field in fields {
        let ident = &field.ident;
        let ty = &field.ty;
        let help = help(&field.attrs);
        let Options { name, options } = options(field)?;
        declared.push(quote! {
            #ident: <#ty as #tallies::__private::Declare>::declare(
                #name,
                #help,
                #tallies::__private::Options {
                    module: ::core::module_path!(),
                    #options
                    ..::core::default::Default::default() },
                registry,
            )?
        });
    }
    let name = &item.ident;
    let vis = &item.vis;
    let (generics, names, bounds) = item.generics.split_for_impl();
    Ok(quote! {
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
                ::core::result::Result::Ok(Self { #(#declared),* })
            }
        }
    })
}

struct Options {
    name: LitStr,
    options: TokenStream,
}

fn options(field: &Field) -> syn::Result<Options> {
    let ident = field.ident.as_ref().expect("named");
    let mut name = LitStr::new(&ident.unraw().to_string(), ident.span());
    let mut options = TokenStream::new();
    let mut set = |meta: ParseNestedMeta<'_>| {
        if meta.path.is_ident("name") {
            name = meta.value()?.parse()?;
        } else if meta.path.is_ident("hot") || meta.path.is_ident("utf8") {
            let key = &meta.path;
            options.extend(quote!(#key: true,));
        } else if meta.path.is_ident("unit") || meta.path.is_ident("limit") {
            let key = &meta.path;
            let value: Expr = meta.value()?.parse()?;
            options.extend(quote!(#key: #value,));
        } else if meta.path.is_ident("labels") || meta.path.is_ident("buckets") {
            let key = &meta.path;
            let value: Expr = meta.value()?.parse()?;
            options.extend(quote!(#key: &#value,));
        } else {
            return Err(meta.error(
                "unknown setting; there are `name`, `unit`, `labels`, `buckets`, `limit`, `hot` \
                 and `utf8`",
            ));
        }
        Ok(())
    };
    for attr in &field.attrs {
        if attr.path().is_ident("metric") {
            attr.parse_nested_meta(&mut set)?;
        }
    }
    Ok(Options { name, options })
}

fn named_fields<'a>(
    item: &'a DeriveInput,
    what: &str,
) -> syn::Result<&'a Punctuated<Field, Token![,]>> {
    match &item.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) if !fields.named.is_empty() => Ok(&fields.named),
            _ => Err(syn::Error::new(item.ident.span(), what)),
        },
        _ => Err(syn::Error::new(item.ident.span(), what)),
    }
}

/// Returns the text of `#[label("text")]`.
fn rename(attrs: &[Attribute]) -> syn::Result<Option<LitStr>> {
    attrs
        .iter()
        .find(|attr| attr.path().is_ident("label"))
        .map(Attribute::parse_args)
        .transpose()
}

/// Rejects names that no family accepts. The stricter rules depend on whether the family is
/// declared with `utf8`, so the family checks them.
fn check_label(name: &LitStr) -> syn::Result<()> {
    let text = name.value();
    if text.is_empty() || text.contains(|c: char| matches!(c, '"' | '\\') || c.is_control()) {
        return Err(syn::Error::new(
            name.span(),
            "a label name must not be empty or contain `\"`, `\\` or a control character",
        ));
    }
    if text.starts_with("__") {
        return Err(syn::Error::new(
            name.span(),
            format!("label name `{text}` is reserved, because it begins with `__`"),
        ));
    }
    Ok(())
}

fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (i, c) in chars.iter().enumerate() {
        let after_lower = i > 0 && (chars[i - 1].is_lowercase() || chars[i - 1].is_ascii_digit());
        let before_lower = i > 0
            && chars[i - 1].is_uppercase()
            && chars.get(i + 1).is_some_and(|next| next.is_lowercase());
        if c.is_uppercase() && (after_lower || before_lower) {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

/// Replaces the lifetime `lifetime` in the tokens of a type with `life`.
pub(crate) fn replace_lifetime(
    tokens: TokenStream,
    lifetime: &Ident,
    life: &Lifetime,
) -> TokenStream {
    let mut out = TokenStream::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(p) if p.as_char() == '\'' => {
                let is_it = matches!(tokens.peek(), Some(TokenTree::Ident(i)) if i == lifetime);
                if is_it {
                    tokens.next();
                    life.to_tokens(&mut out);
                } else {
                    out.extend([TokenTree::Punct(p)]);
                }
            }
            TokenTree::Group(group) => {
                let inner = replace_lifetime(group.stream(), lifetime, life);
                out.extend([TokenTree::Group(Group::new(group.delimiter(), inner))]);
            }
            other => out.extend([other]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn snake_cases() {
        for (name, snake) in [
            ("Get", "get"),
            ("NotFound", "not_found"),
            ("HTTPError", "http_error"),
            ("V2", "v2"),
            ("X509Cert", "x509_cert"),
        ] {
            assert_eq!(snake_case(name), snake);
        }
    }
}
