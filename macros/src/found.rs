//! Where the crate is found: at `::tallies`, or where `crate = path` says.

use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Ident, Path, Token, parse_quote};

/// Where nobody says otherwise.
pub(crate) fn usual() -> Path {
    parse_quote!(::tallies)
}

/// The path of `= path`, after `crate`.
pub(crate) fn path(input: ParseStream<'_>) -> syn::Result<Path> {
    input.parse::<Token![=]>()?;
    input.call(Path::parse_mod_style)
}

/// What an attribute says that takes nothing else.
pub(crate) fn only(input: ParseStream<'_>) -> syn::Result<Path> {
    if input.is_empty() {
        return Ok(usual());
    }
    let at = input.span();
    if !input.call(Ident::parse_any).is_ok_and(|key| key == "crate") {
        return Err(syn::Error::new(
            at,
            "here there is only `crate = path`: where the `tallies` crate is found",
        ));
    }
    let path = path(input)?;
    input.parse::<Option<Token![,]>>()?;
    Ok(path)
}

/// What a derive's own attribute says of the whole struct or enum.
pub(crate) fn of_item(attrs: &[Attribute], helper: &str) -> syn::Result<Path> {
    attrs
        .iter()
        .find(|attr| attr.path().is_ident(helper))
        .map_or_else(|| Ok(usual()), |attr| attr.parse_args_with(only))
}

/// What `#[tallies::metric]` says.
pub(crate) fn of_args(args: proc_macro2::TokenStream) -> syn::Result<Path> {
    only.parse2(args)
}
