//! The part that all measuring attributes share: parsing their arguments, and applying them to a
//! function or to every method of an `impl` block.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::token::Paren;
use syn::{
    Attribute, Block, Expr, ExprClosure, Ident, ImplItem, ItemFn, ItemImpl, Meta, Path, Signature,
    Token,
};

use super::crate_path;
use super::shape;
use crate::off;

/// The arguments `METRIC, labels = .., error_label = |error| .., on(..), crate = ..`.
#[derive(Clone)]
pub(crate) struct Args {
    pub(crate) metric: Expr,
    pub(crate) labels: Option<TokenStream>,
    pub(crate) error_label: Option<ExprClosure>,
    pub(crate) on: Option<Vec<Ident>>,
    /// The path of the `tallies` crate.
    pub(crate) tallies: Path,
    /// The expressions that attributes written below this one evaluate, or keep borrowed, while the
    /// body runs or after it.
    pub(crate) below: TokenStream,
    /// Whether the attribute is on an `impl` block, whose methods have different results.
    pub(crate) whole_impl: bool,
}

impl Parse for Args {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.is_empty() {
            let what = "the metric is missing; pass it, as in `#[tallies::timed(LATENCY)]`";
            return Err(syn::Error::new(Span::call_site(), what));
        }
        let metric: Expr = input.parse()?;
        if matches!(metric, Expr::Assign(_)) {
            let what = "the metric is missing; it comes first, as in `#[tallies::timed(LATENCY, \
                        labels = ..)]`";
            return Err(syn::Error::new(metric.span(), what));
        }
        if matches!(metric, Expr::Lit(_)) {
            let what = "expected a metric, found a string; declare a `static` metric of that \
                        name, and pass the static";
            return Err(syn::Error::new(metric.span(), what));
        }
        let mut args = Self {
            metric,
            labels: None,
            error_label: None,
            on: None,
            tallies: crate_path::default(),
            below: TokenStream::new(),
            whole_impl: false,
        };
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            let key = input.call(Ident::parse_any)?;
            if key == "labels" && input.peek(Paren) {
                let what = "labels follow a `=`, in the form that the metric's `with` takes: \
                            `labels = [\"x\"]` or `labels = Request { route: \"x\" }`";
                return Err(syn::Error::new(key.span(), what));
            } else if key == "labels" && args.labels.is_none() {
                input.parse::<Token![=]>()?;
                args.labels = Some(input.parse::<Expr>()?.into_token_stream());
            } else if key == "error_label" && args.error_label.is_none() {
                input.parse::<Token![=]>()?;
                let span = input.span();
                let what = "`error_label` takes a closure, as in `error_label = |error| \
                            error.kind()`";
                let closure = input.parse::<ExprClosure>();
                args.error_label = Some(closure.map_err(|_| syn::Error::new(span, what))?);
            } else if key == "on" && args.on.is_none() {
                let kinds;
                syn::parenthesized!(kinds in input);
                let kinds = kinds.parse_terminated(Ident::parse_any, Token![,])?;
                args.on = Some(kinds.into_iter().collect());
            } else if key == "crate" {
                args.tallies = crate_path::parse_value(input)?;
            } else {
                let what = "expected `labels = ..` or `crate = ..`, or for `count_errors` also \
                            `error_label = ..` or `on(..)`, each at most once";
                return Err(syn::Error::new(key.span(), what));
            }
        }
        Ok(args)
    }
}

impl Args {
    /// Returns a reference to the metric, or to the series of its labels.
    pub(crate) fn target(&self) -> TokenStream {
        let metric = &self.metric;
        if let Some(labels) = &self.labels {
            return self.series(labels);
        }
        // The span makes the compiler's messages about the metric's type point at the metric. Its
        // hygiene makes it different from the span of the call in `guard`.
        let span = Span::call_site().located_at(metric.span());
        quote_spanned!(span=> &#metric)
    }

    /// Returns the look-up of the series with `labels`.
    pub(crate) fn series(&self, labels: &TokenStream) -> TokenStream {
        self.labelled("with", labels)
    }

    /// Returns a call of this method of the metric.
    pub(crate) fn labelled(&self, method: &str, arguments: &TokenStream) -> TokenStream {
        let metric = &self.metric;
        let span = located(metric.span());
        let method = Ident::new(method, span);
        let metric = quote_spanned!(span=> (#metric));
        quote_spanned!(span=> #metric.#method(#arguments))
    }

    /// Returns a call of a function in `tallies::__private`.
    pub(crate) fn call(&self, name: &str, argument: &TokenStream) -> TokenStream {
        let span = located(self.metric.span());
        let tallies = &self.tallies;
        let name = Ident::new(name, span);
        quote_spanned!(span=> #tallies::__private::#name(#argument))
    }

    /// Returns the statements, without the last `;`, that bind `variable` to the guard of the
    /// metric, which a function in `tallies::__private` creates.
    ///
    /// The call and its argument have the same span, so that the compiler reports an unsuitable
    /// metric only once. The borrow of the metric has another one, because the compiler finds the
    /// expression that it suggests to clone by its span.
    fn guard(&self, variable: &str, function: &str) -> TokenStream {
        let span = located(self.metric.span());
        let target = self.target();
        let mut tallies = self.tallies.clone();
        if let Some(colons) = &mut tallies.leading_colon {
            colons.spans = [span; 2];
        }
        let variable = Ident::new(variable, span);
        let function = Ident::new(function, span);
        quote_spanned!(span=>
            let metric = #target;
            let #variable = #tallies::__private::#function(metric)
        )
    }

    /// Rejects arguments that only `count_errors` accepts: `error_label`, `on(..)`, and labels that
    /// are a closure.
    fn reject_error_arguments(&self, kind: &str) -> syn::Result<()> {
        let on_span = |on: &Vec<Ident>| on.first().map_or_else(Span::call_site, Ident::span);
        let closure = self.error_label.as_ref();
        let given = closure.map(|closure| ("error_label", closure.span()));
        let on = self.on.as_ref().map(|on| ("on(..)", on_span(on)));
        if let Some((name, span)) = given.or(on) {
            let why = "because it measures every call; `count_errors` takes it";
            let what = format!("`{kind}` does not take `{name}`, {why}");
            return Err(syn::Error::new(span, what));
        }
        if let Some(closure) = self.labels_of_error() {
            let why = "so they are an expression, not a closure";
            let what = format!("the labels of `{kind}` are evaluated before the call, {why}");
            return Err(syn::Error::new(closure.span(), what));
        }
        Ok(())
    }

    /// Returns the labels, if they are a closure over the error.
    pub(crate) fn labels_of_error(&self) -> Option<ExprClosure> {
        match syn::parse2(self.labels.clone()?) {
            Ok(Expr::Closure(closure)) => Some(closure),
            _ => None,
        }
    }

    /// Returns the expressions that are evaluated, or still borrowed, after the body has started.
    pub(crate) fn used_after_start(&self) -> TokenStream {
        let labels = self.labels_of_error();
        let closures = [labels.as_ref(), self.error_label.as_ref()];
        let mut uses = self.metric.to_token_stream();
        for closure in closures.into_iter().flatten() {
            closure.body.to_tokens(&mut uses);
        }
        uses
    }

    /// Returns these arguments for the function `name`: replaces `function!()` in the labels, and
    /// records the needs of the attributes written below.
    fn for_function(&self, name: &Ident, below: &[Attribute]) -> Self {
        let text = name.to_string();
        let named = |labels: TokenStream| off::name_function(labels.into(), &text).into();
        let uses = below.iter().map(|attr| attribute_uses(&attr.meta));
        Self {
            labels: self.labels.clone().map(named),
            below: uses.collect(),
            ..self.clone()
        }
    }

    /// Returns a statement that evaluates the metric and keeps it for the duration of the call, if
    /// the metric is a call such as `self.errors.clone()`. Otherwise returns no tokens.
    fn keep_metric(&mut self) -> TokenStream {
        if !matches!(self.metric, Expr::Call(_) | Expr::MethodCall(_)) {
            return TokenStream::new();
        }
        let metric = &self.metric;
        let span = located(metric.span());
        let statement = quote_spanned!(span=> let held = &#metric;);
        self.metric = syn::parse_quote_spanned!(span=> *held);
        statement
    }

    /// Returns these arguments with `self` replaced by its name in the body.
    fn with_receiver(&self, receiver: Option<&Ident>) -> syn::Result<Self> {
        let Some(receiver) = receiver else {
            return Ok(self.clone());
        };
        let renamed = |tokens: TokenStream| rename_self(tokens, receiver);
        Ok(Self {
            metric: syn::parse2(renamed(self.metric.to_token_stream()))?,
            labels: self.labels.clone().map(renamed),
            error_label: (self.error_label.as_ref())
                .map(|closure| syn::parse2(renamed(closure.to_token_stream())))
                .transpose()?,
            below: renamed(self.below.clone()),
            ..self.clone()
        })
    }
}

/// Returns a span with the location of `span`, for messages, and the hygiene of the macro, so that
/// its names do not collide with the user's.
pub(crate) fn located(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}

/// Expands an attribute. On an error, keeps the item unchanged, so that the compiler reports
/// nothing but this error.
pub(crate) fn expand(kind: &str, args: TokenStream, item: TokenStream) -> TokenStream {
    try_expand(kind, args, item.clone()).unwrap_or_else(|error| {
        let error = error.into_compile_error();
        quote!(#error #item)
    })
}

fn try_expand(kind: &str, args: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    if is_skip(&args) {
        let what = "`skip` is only for methods of an `impl` block with the attribute";
        return Err(syn::Error::new(args.span(), format!("{what} `{kind}`")));
    }
    let args: Args = syn::parse2(args)?;
    match keyword(&item).as_deref() {
        Some("fn") => {}
        Some("impl") => {
            let mut item: ItemImpl = syn::parse2(item)?;
            expand_impl(kind, &args, &mut item)?;
            return Ok(item.into_token_stream());
        }
        _ => {
            let what = format!("`{kind}` can be put on a function, a method or an `impl` block");
            return Err(syn::Error::new(Span::call_site(), what));
        }
    }
    if matches!(item.clone().into_iter().last(), Some(TokenTree::Punct(_))) {
        let what = format!("this method has no body; put `{kind}` on its implementation");
        return Err(syn::Error::new(Span::call_site(), what));
    }
    let mut item: ItemFn = syn::parse2(item)?;
    let args = args.for_function(&item.sig.ident.unraw(), &item.attrs);
    rewrite(kind, &args, &item.attrs, &item.sig, &mut item.block)?;
    Ok(item.into_token_stream())
}

/// Applies an attribute to a function.
fn rewrite(
    kind: &str,
    args: &Args,
    attrs: &[Attribute],
    sig: &Signature,
    block: &mut Block,
) -> syn::Result<()> {
    shape::rewrite(kind, &args.tallies, attrs, sig, block, |call| {
        let mut args = args.with_receiver(call.receiver.as_ref())?;
        let keep_metric = args.keep_metric();
        // The guards decrement or observe when they are dropped, so every way to leave the body
        // counts.
        let before = match kind {
            "count" => args.call("counted", &args.target()),
            "timed" => args.guard("_timer", "start"),
            "in_progress" => args.guard("_in_flight", "enter"),
            // `count_errors` needs the result of the body.
            _ => {
                let inner = super::count_errors::wrap(&args, call)?;
                return Ok(quote!(#keep_metric #inner));
            }
        };
        args.reject_error_arguments(kind)?;
        let body = &call.body;
        Ok(quote_spanned!(Span::mixed_site()=> #keep_metric #before; #body))
    })
}

fn expand_impl(kind: &str, args: &Args, item: &mut ItemImpl) -> syn::Result<()> {
    let mut errors: Option<syn::Error> = None;
    for part in &mut item.items {
        let ImplItem::Fn(method) = part else {
            continue;
        };
        if let Some(index) = method.attrs.iter().position(|attr| skips(attr, kind)) {
            method.attrs.remove(index);
            continue;
        }
        let below = [&item.attrs[..], &method.attrs[..]].concat();
        let mut args = args.for_function(&method.sig.ident.unraw(), &below);
        args.whole_impl = true;
        if let Err(error) = rewrite(kind, &args, &method.attrs, &method.sig, &mut method.block) {
            match &mut errors {
                Some(errors) => errors.combine(error),
                None => errors = Some(error),
            }
        }
    }
    errors.map_or(Ok(()), Err)
}

/// Returns whether the attribute is `#[timed(skip)]`, with any path before `timed`.
fn skips(attr: &Attribute, name: &str) -> bool {
    let last = attr.path().segments.last();
    let args = || attr.parse_args::<TokenStream>();
    last.is_some_and(|segment| segment.ident == name) && args().is_ok_and(|args| is_skip(&args))
}

fn is_skip(args: &TokenStream) -> bool {
    args.to_string() == "skip"
}

/// Returns the first keyword of an item outside all brackets.
fn keyword(item: &TokenStream) -> Option<String> {
    const KEYWORDS: [&str; 6] = ["fn", "impl", "struct", "enum", "trait", "mod"];
    let mut words = item.clone().into_iter().map(|token| token.to_string());
    words.find(|word| KEYWORDS.contains(&&**word))
}

/// Returns the expressions that an attribute below evaluates, or keeps borrowed, after the body has
/// started. Empty for other attributes.
fn attribute_uses(meta: &Meta) -> TokenStream {
    let (Meta::List(list), Some(name)) = (meta, meta.path().segments.last()) else {
        return TokenStream::new();
    };
    match &*name.ident.to_string() {
        "cfg_attr" => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .map(|metas| metas.iter().skip(1).map(attribute_uses).collect()),
        "timed" | "in_progress" | "count_errors" => list
            .parse_args::<Args>()
            .map(|args| args.used_after_start()),
        _ => return TokenStream::new(),
    }
    // Errors in these arguments are reported when that attribute expands.
    .unwrap_or_default()
}

/// Replaces `self` with `receiver`.
fn rename_self(tokens: TokenStream, receiver: &Ident) -> TokenStream {
    let renamed = off::rebuild(tokens.into(), &|out, token| match token {
        proc_macro::TokenTree::Ident(ident) if ident.to_string() == "self" => {
            let mut receiver = receiver.clone();
            receiver.set_span(receiver.span().located_at(ident.span().into()));
            out.extend(proc_macro::TokenStream::from(receiver.into_token_stream()));
        }
        token => out.push(token),
    });
    renamed.into()
}
