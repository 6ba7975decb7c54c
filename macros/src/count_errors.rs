//! `#[tallies::count_errors]`.
//!
//! The result has to be seen, so the body becomes a closure that is called once, or an `async` block that is awaited:
//! `return` and `?` leave that. It takes no more of the arguments than the body does, so that the metric, and labels of the
//! error, may be of them. A panic is seen by a guard that is forgotten after the call; the end of a future by a future
//! around it.

use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::{Expr, ExprClosure, Token};

use crate::instrument::{Args, Kind};
use crate::shape::{Call, Output};

pub(crate) const KIND: Kind = Kind {
    name: "count_errors",
    wrap,
};

/// What counts.
#[derive(Default)]
struct On {
    error: bool,
    none: bool,
    panic: bool,
    cancel: bool,
}

impl On {
    fn of(args: &Args, by_error: bool) -> syn::Result<Self> {
        let Some(kinds) = &args.on else {
            return Ok(Self {
                error: true,
                panic: !by_error,
                ..Self::default()
            });
        };
        let mut on = Self::default();
        if kinds.is_empty() {
            return Err(syn::Error::new(
                Span::call_site(),
                "`on()` would count nothing",
            ));
        }
        for kind in kinds {
            let flag = match &*kind.to_string() {
                "error" => &mut on.error,
                "none" => &mut on.none,
                "panic" => &mut on.panic,
                "cancel" => &mut on.cancel,
                _ => {
                    return Err(syn::Error::new(
                        kind.span(),
                        format!(
                            "`on(..)` says what counts, and nothing is called `{kind}`: there are `error`, `none`, `panic` and `cancel`"
                        ),
                    ));
                }
            };
            *flag = true;
        }
        if by_error && !(on.error && kinds.len() == 1) {
            return Err(syn::Error::new(
                kinds.first().map_or_else(Span::call_site, Ident::span),
                "labels by a closure are of an error, which nothing else has: count the rest by an attribute of its own",
            ));
        }
        Ok(on)
    }
}

fn wrap(args: &Args, call: &Call) -> syn::Result<TokenStream> {
    let closure = match args.labels.clone().map(syn::parse2) {
        Some(Ok(Expr::Closure(closure))) => Some(closure),
        _ => None,
    };
    let on = On::of(args, closure.is_some())?;
    if call.future.is_none() && on.cancel && !(on.error || on.none || on.panic) {
        return Err(syn::Error::new(
            call.span,
            "only a future can be cancelled, and this function does not return one",
        ));
    }
    let at = Span::mixed_site();
    let tallies = &args.tallies;
    let (before, count) = match closure {
        None => counting(args, call),
        Some(_) => Default::default(),
    };
    let judged = match (&closure, &call.output) {
        (_, Output::Unit | Output::Never) => TokenStream::new(),
        (Some(closure), _) => by_error(args, closure)?,
        (None, _) if on.error || on.none => {
            let (error, none) = (on.error, on.none);
            quote_spanned!(at=>
                if #tallies::__private::Judge::new(&result).failed(#error, #none) {
                    #count;
                }
            )
        }
        _ => TokenStream::new(),
    };
    let body = &call.body;
    let ended = match (&call.future, &call.output) {
        (None, output) => {
            if let Some(attr) = &call.track_caller
                && (on.panic || !matches!(output, Output::Unit | Output::Never))
            {
                return Err(syn::Error::new_spanned(
                    attr,
                    "`#[track_caller]` and `count_errors` do not go together, as a body whose result is looked at is a closure, \
                     which has its own place: count in the callers, or in a function that this one calls",
                ));
            }
            sync(args, call, on.panic.then_some(&count), &judged)
        }
        (Some(capture), output) => {
            let ty = typed(output).map(|ty| {
                quote_spanned!(at=> if false { return #tallies::__private::nothing::<#ty>(); })
            });
            let late = [
                Some(args.metric.to_token_stream()),
                closure.map(|closure| closure.body.to_token_stream()),
            ];
            let late: TokenStream = late.into_iter().flatten().collect();
            let future = future(args, call, *capture, &late, &quote_spanned!(at=> #ty #body));
            let watched = match (on.panic, on.cancel) {
                (false, false) => future,
                (panic, cancel) => {
                    let which = match (panic, cancel) {
                        (true, true) => quote_spanned!(at=> |_| #count),
                        (true, false) => {
                            quote_spanned!(at=> |how| if how == #tallies::Failure::Panic { #count })
                        }
                        _ => {
                            quote_spanned!(at=> |how| if how == #tallies::Failure::Cancel { #count })
                        }
                    };
                    quote_spanned!(at=> #tallies::__private::watch(#future, #which))
                }
            };
            match output {
                Output::Unit | Output::Never => quote_spanned!(at=> #watched.await),
                _ => quote_spanned!(at=>
                    let result = #watched.await;
                    #judged
                    result
                ),
            }
        }
    };
    Ok(quote_spanned!(at=> #before #ended))
}

/// A function that is called. It becomes a closure, unless nobody looks at its end.
fn sync(
    args: &Args,
    call: &Call,
    on_panic: Option<&TokenStream>,
    judged: &TokenStream,
) -> TokenStream {
    let at = Span::mixed_site();
    let tallies = &args.tallies;
    let body = &call.body;
    let guard = on_panic.map(
        |count| quote_spanned!(at=> let unwinding = #tallies::__private::Unwinding(|| #count);),
    );
    let disarm = on_panic.map(|_| quote_spanned!(at=> #tallies::__private::disarm(unwinding);));
    let ty = typed(&call.output).map(|ty| quote_spanned!(at=> -> #ty));
    let called = quote_spanned!(at=> #tallies::__private::call(|| #ty #body));
    match (&call.output, on_panic) {
        (Output::Unit | Output::Never, None) => body.clone(),
        (Output::Never, Some(_)) => quote_spanned!(at=> #guard #body),
        (Output::Unit, Some(_)) => quote_spanned!(at=> #guard #called; #disarm),
        _ => quote_spanned!(at=>
            #guard
            let result = #called;
            #disarm
            #judged
            result
        ),
    }
}

/// A body that runs in a future, as a future of its own.
///
/// It owns what the body uses, so that it is `Send` where the function's own future would be; but for those parameters that
/// what comes `late`, after it, wants as well.
fn future(
    args: &Args,
    call: &Call,
    capture: Option<Token![move]>,
    late: &TokenStream,
    body: &TokenStream,
) -> TokenStream {
    let at = Span::mixed_site();
    let tallies = &args.tallies;
    let (kept, rest): (Vec<&Ident>, Vec<&Ident>) = call
        .parameters
        .iter()
        .partition(|parameter| mentions(late, parameter) && mentions(&call.body, parameter));
    if kept.is_empty() || capture.is_none() {
        return quote_spanned!(at=> async #capture { #body });
    }
    let owned = rest
        .into_iter()
        .filter(|parameter| mentions(&call.body, parameter));
    quote_spanned!(at=> async {
        if false {
            #tallies::__private::owned((#(#owned,)*));
        }
        #body
    })
}

fn typed(output: &Output) -> Option<TokenStream> {
    match output {
        Output::Type(ty) => Some(ty.to_token_stream()),
        Output::Unit | Output::Never | Output::Unknown => None,
    }
}

/// What stands before the call, and what counts one failure.
fn counting(args: &Args, call: &Call) -> (TokenStream, TokenStream) {
    let at = Span::mixed_site();
    let tallies = &args.tallies;
    let counted = |what| quote_spanned!(at=> #tallies::__private::counted(#what));
    match &args.labels {
        // Of constant labels the series is looked up only if something failed.
        Some(labels) if constant(labels, &call.parameters) => (
            TokenStream::new(),
            args.call("counted", &args.series(labels)),
        ),
        _ => {
            let metric = args.call("counts", &args.target());
            (
                quote_spanned!(at=> let metric = #metric;),
                counted(quote_spanned!(at=> &metric)),
            )
        }
    }
}

/// Counts an error in the series that its closure says.
fn by_error(args: &Args, closure: &ExprClosure) -> syn::Result<TokenStream> {
    let (Some(error), 1) = (closure.inputs.first(), closure.inputs.len()) else {
        return Err(syn::Error::new_spanned(
            closure,
            "labels of an error are a closure of the error, as in `labels = |error| [error.kind()]`",
        ));
    };
    let tallies = &args.tallies;
    let series = args.call("counted", &args.series(&closure.body.to_token_stream()));
    Ok(quote_spanned!(Span::mixed_site()=>
        #tallies::__private::error(&result, |#error| #series);
    ))
}

/// Whether labels are the same before the body and after it. What is called could tell otherwise, and a macro may do
/// what it likes.
fn constant(labels: &TokenStream, parameters: &[Ident]) -> bool {
    labels.clone().into_iter().all(|token| match token {
        TokenTree::Group(group) => {
            group.delimiter() != Delimiter::Parenthesis && constant(&group.stream(), parameters)
        }
        TokenTree::Ident(ident) => !parameters.contains(&ident),
        TokenTree::Punct(punct) => punct.as_char() != '!',
        TokenTree::Literal(_) => true,
    })
}

/// Whether a parameter is named, be it in the text of a format; a field or method of its name is not it.
fn mentions(tokens: &TokenStream, parameter: &Ident) -> bool {
    // How many dots come before: one is of a field, two are of a range.
    let mut dots = 0;
    tokens.clone().into_iter().any(|token| {
        let before = std::mem::take(&mut dots);
        match token {
            TokenTree::Group(group) => mentions(&group.stream(), parameter),
            TokenTree::Ident(ident) => before != 1 && ident == *parameter,
            TokenTree::Punct(punct) => {
                if punct.as_char() == '.' {
                    dots = before + 1;
                }
                false
            }
            TokenTree::Literal(text) => {
                let text = text.to_string();
                text.contains(&format!("{{{parameter}")) || text.contains(&format!("{parameter}$"))
            }
        }
    })
}
