//! The path of the `tallies` crate: `::tallies`, or the path in `crate = path`.

use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::{Attribute, Ident, Path, Token, parse_quote};

/// Returns the default path.
pub(crate) fn default() -> Path {
    parse_quote!(::tallies)
}

/// Parses the `= path` after `crate`.
pub(crate) fn parse_value(input: ParseStream<'_>) -> syn::Result<Path> {
    input.parse::<Token![=]>()?;
    input.call(Path::parse_mod_style)
}

/// Parses the arguments of an attribute that accepts nothing but `crate = path`.
pub(crate) fn parse_only(input: ParseStream<'_>) -> syn::Result<Path> {
    if input.is_empty() {
        return Ok(default());
    }
    let span = input.span();
    if !input.call(Ident::parse_any).is_ok_and(|key| key == "crate") {
        let what = "the only argument here is `crate = path`, the path of the `tallies` crate";
        return Err(syn::Error::new(span, what));
    }
    let path = parse_value(input)?;
    input.parse::<Option<Token![,]>>()?;
    Ok(path)
}

/// Returns the path from the helper attribute on a derive's struct or enum.
pub(crate) fn from_attrs(attrs: &[Attribute], helper: &str) -> syn::Result<Path> {
    let attr = attrs.iter().find(|attr| attr.path().is_ident(helper));
    attr.map_or_else(|| Ok(default()), |attr| attr.parse_args_with(parse_only))
}
