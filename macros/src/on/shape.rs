//! The shapes of functions: finds the block that runs when a function is called, and rewrites it.
//!
//! The signature stays unchanged. In an `async fn`, the block is the body. In a function that
//! returns a future, it is the `async` block at the end of the function, whether the user or
//! `async_trait` wrote it.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::spanned::Spanned;
use syn::token::Brace;
use syn::visit_mut::{self, VisitMut};
use syn::{
    AssocType, Attribute, Block, Expr, ExprAsync, FnArg, GenericArgument, Generics, Ident, Path,
    PathArguments, PathSegment, ReturnType, Signature, Stmt, Token, Type, TypeImplTrait,
    TypeParamBound, TypePath, parse_quote,
};

use super::async_trait::{BoundNames, original_body};
use crate::off;

/// A call that an attribute measures.
pub(crate) struct Call {
    /// The body, as a block expression, so that its names and items stay separate from those of the
    /// macro.
    pub(crate) body: TokenStream,
    /// The type of the body's value.
    pub(crate) output: Output,
    /// `Some` if the body runs in a future. The inner token is the `move` of its `async` block.
    pub(crate) future: Option<Option<Token![move]>>,
    /// The names that the parameters bind.
    pub(crate) parameters: Vec<Ident>,
    /// The name of `self` in the body, if it is not `self`.
    pub(crate) receiver: Option<Ident>,
    /// The function's `#[track_caller]`, if it has one.
    pub(crate) track_caller: Option<Attribute>,
    /// Whether the signature has neither an `impl Trait` nor a type parameter of the function where
    /// the body's value would be. Such a type may hide a result.
    pub(crate) concrete: bool,
    pub(crate) span: Span,
    /// The location of the return type, or of the function's name if it has none.
    pub(crate) output_span: Span,
}

/// The type of a body's value.
pub(crate) enum Output {
    Unit,
    Never,
    /// A type, with `_` for the parts that cannot be written inside a body.
    Type(Box<Type>),
    /// A type that the signature does not name.
    Unknown,
}

/// Rewrites the block that runs when the function is called.
pub(crate) fn rewrite(
    kind: &str,
    tallies: &Path,
    attrs: &[Attribute],
    sig: &Signature,
    block: &mut Block,
    wrap: impl FnOnce(&Call) -> syn::Result<TokenStream>,
) -> syn::Result<()> {
    check(kind, attrs, sig)?;
    let returned = match &sig.output {
        ReturnType::Type(_, ty) => Some(&**ty),
        ReturnType::Default => None,
    };
    let mut all = attrs.iter();
    let track_caller = all.find(|attr| attr.path().is_ident("track_caller"));
    let mut call = Call {
        body: body_of(block),
        output: returned.map_or(Output::Unit, Output::of),
        future: None,
        parameters: parameters(sig),
        receiver: None,
        track_caller: track_caller.cloned(),
        concrete: is_concrete(sig),
        span: sig.ident.span(),
        output_span: returned.map_or_else(|| sig.ident.span(), Spanned::span),
    };
    if sig.asyncness.is_some() {
        call.future = Some(Some(<Token![move]>::default()));
        set_contents(block, wrap(&call)?);
        return Ok(());
    }
    let value = returned.map_or(Returned::Value, Returned::of);
    if matches!(value, Returned::Stream) && kind != "count" {
        let what = "the attribute would only measure how the stream is created, not the stream; \
                    measure it with `tallies::instrument::Measure`, as in";
        let what = format!("{what} `stream.{kind}(..)`");
        return Err(syn::Error::new(sig.ident.span(), what));
    }
    if let Some(tail) = tail(block, matches!(value, Returned::Future)) {
        call.output = returned.map_or(Output::Unknown, future_output);
        call.future = Some(tail.capture);
        let block = match original_body(&mut tail.block) {
            Some((names, original)) => {
                call.receiver = names.iter().find(|name| *name == "__self").cloned();
                call.parameters.retain(|name| !names.contains(name));
                call.parameters.extend(names);
                original
            }
            None => &mut tail.block,
        };
        call.body = body_of(block);
        set_contents(block, wrap(&call)?);
        return Ok(());
    }
    match value {
        Returned::Value | Returned::Stream => set_contents(block, wrap(&call)?),
        Returned::Future => {
            let body = &call.body;
            let create = quote_spanned!(Span::mixed_site()=>
                let future = #tallies::__private::call(|| #body);
            );
            call.body = quote_spanned!(Span::mixed_site()=> future.await);
            call.output = Output::Unknown;
            call.future = Some(Some(<Token![move]>::default()));
            let inner = wrap(&call)?;
            let inner = quote_spanned!(Span::mixed_site()=> #create async move { #inner });
            set_contents(block, inner);
        }
        Returned::Boxed => {
            let what = "the attribute would only measure how the future is created, not the \
                        future; end the body in `Box::pin(async move { .. })`";
            return Err(syn::Error::new(sig.ident.span(), what));
        }
    }
    Ok(())
}

/// Returns the block as an expression. Its braces get the span of the macro; with the user's span,
/// the compiler would warn about unneeded braces.
fn body_of(block: &Block) -> TokenStream {
    let mut block = block.clone();
    block.brace_token = Brace(Span::mixed_site().located_at(block.brace_token.span.join()));
    block.into_token_stream()
}

fn check(kind: &str, attrs: &[Attribute], sig: &Signature) -> syn::Result<()> {
    if let Some(constant) = &sig.constness {
        let what = "a `const fn` cannot be measured, because it may run in the compiler; remove \
                    `const`, measure the callers, or skip it in an `impl` with";
        let what = format!("{what} `#[{kind}(skip)]`");
        return Err(syn::Error::new(constant.span, what));
    }
    let naked = |attr: &&Attribute| {
        let text = attr.meta.to_token_stream().to_string();
        text == "naked" || text.replace(' ', "") == "unsafe(naked)"
    };
    if let Some(attr) = attrs.iter().find(naked) {
        let what = "a naked function cannot be measured; measure its callers";
        return Err(syn::Error::new_spanned(attr, what));
    }
    Ok(())
}

/// Puts `inner` between the braces of the block.
fn set_contents(block: &mut Block, inner: TokenStream) {
    block.stmts = vec![Stmt::Expr(Expr::Verbatim(inner), None)];
}

/// The kind of value that a function returns, judged by its signature.
enum Returned {
    Value,
    /// `impl Future`
    Future,
    /// `Pin<Box<dyn Future>>`, `BoxFuture`
    Boxed,
    /// `impl Stream`, `Pin<Box<dyn Stream>>`, `BoxStream`
    Stream,
}

impl Returned {
    fn of(ty: &Type) -> Self {
        match ty {
            Type::ImplTrait(ty) if has_bound(&ty.bounds, "Future") => Self::Future,
            Type::ImplTrait(ty) if has_bound(&ty.bounds, "Stream") => Self::Stream,
            Type::TraitObject(ty) if has_bound(&ty.bounds, "Future") => Self::Boxed,
            Type::TraitObject(ty) if has_bound(&ty.bounds, "Stream") => Self::Stream,
            Type::Paren(ty) => Self::of(&ty.elem),
            Type::Group(ty) => Self::of(&ty.elem),
            Type::Path(ty) => (ty.path.segments.last()).map_or(Self::Value, Self::of_name),
            _ => Self::Value,
        }
    }

    /// Judges by the last name of a type's path.
    fn of_name(last: &PathSegment) -> Self {
        match (&*last.ident.to_string(), &last.arguments) {
            ("BoxFuture" | "LocalBoxFuture", _) => Self::Boxed,
            ("BoxStream" | "LocalBoxStream", _) => Self::Stream,
            ("Pin" | "Box", PathArguments::AngleBracketed(args)) => match args.args.first() {
                Some(GenericArgument::Type(ty)) => Self::of(ty),
                _ => Self::Value,
            },
            _ => Self::Value,
        }
    }
}

/// Returns whether one of the bounds is a trait called `name`.
fn has_bound<'a>(bounds: impl IntoIterator<Item = &'a TypeParamBound>, name: &str) -> bool {
    let is_it = |segment: &PathSegment| segment.ident == name;
    bounds.into_iter().any(|bound| match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last().is_some_and(is_it),
        _ => false,
    })
}

/// Returns the `async` block at the end of a body: on its own if `future` says that the function
/// returns `impl Future`, or inside `Box::pin(..)`, `.boxed()` or `.boxed_local()`.
fn tail(block: &mut Block, future: bool) -> Option<&mut ExprAsync> {
    let Some(Stmt::Expr(last, None)) = block.stmts.last_mut() else {
        return None;
    };
    let boxed = match last {
        Expr::Async(inner) if future => return Some(inner),
        Expr::Call(call) if call.args.len() == 1 && is_box_pin(&call.func) => &mut call.args[0],
        Expr::MethodCall(call) if call.method == "boxed" || call.method == "boxed_local" => {
            &mut *call.receiver
        }
        _ => return None,
    };
    match boxed {
        Expr::Async(inner) => Some(inner),
        _ => None,
    }
}

/// Returns whether a call of this is one of `Box::pin`, with any path before `Box`.
fn is_box_pin(callee: &Expr) -> bool {
    let Expr::Path(callee) = callee else {
        return false;
    };
    let names = callee.path.segments.iter().rev();
    let names = names.take(2).map(|segment| segment.ident.to_string());
    names.eq(["pin", "Box"])
}

/// Returns whether the return type mentions neither a type parameter of the function nor an `impl
/// Trait`, apart from that of a future.
fn is_concrete(sig: &Signature) -> bool {
    let mut hidden = Hidden {
        generics: &sig.generics,
        found: false,
    };
    hidden.visit_return_type_mut(&mut sig.output.clone());
    !hidden.found
}

/// Looks for what `is_concrete` rules out.
struct Hidden<'a> {
    generics: &'a Generics,
    found: bool,
}

impl VisitMut for Hidden<'_> {
    fn visit_type_impl_trait_mut(&mut self, ty: &mut TypeImplTrait) {
        self.found |= !has_bound(&ty.bounds, "Future");
        visit_mut::visit_type_impl_trait_mut(self, ty);
    }

    fn visit_type_path_mut(&mut self, ty: &mut TypePath) {
        let first = ty.path.segments.first().map(|segment| &segment.ident);
        let mut parameters = self.generics.type_params();
        self.found |= parameters.any(|parameter| Some(&parameter.ident) == first);
        visit_mut::visit_type_path_mut(self, ty);
    }
}

impl Output {
    fn of(ty: &Type) -> Self {
        match ty {
            Type::Never(_) => Self::Never,
            Type::Tuple(unit) if unit.elems.is_empty() => Self::Unit,
            _ => {
                let mut ty = ty.clone();
                Writable.visit_type_mut(&mut ty);
                Self::Type(Box::new(ty))
            }
        }
    }
}

/// Returns the output type of a future type: its `Output = ..` if written, otherwise a projection
/// through the `Future` trait.
fn future_output(ty: &Type) -> Output {
    let mut written = WrittenOutput(None);
    written.visit_type_mut(&mut ty.clone());
    let is_hidden = off::has_word(&ty.to_token_stream().into(), "impl");
    written.0.unwrap_or_else(|| match is_hidden {
        // A type that contains `impl Trait` cannot be written inside a body.
        true => Output::Unknown,
        false => Output::Type(parse_quote!(<#ty as ::core::future::Future>::Output)),
    })
}

/// The first `Output = ..` in a type.
struct WrittenOutput(Option<Output>);

impl VisitMut for WrittenOutput {
    fn visit_assoc_type_mut(&mut self, assoc: &mut AssocType) {
        if assoc.ident == "Output" && self.0.is_none() {
            self.0 = Some(Output::of(&assoc.ty));
        }
    }
}

/// Makes a type one that can be written inside a body, with `_` for every `impl Trait`.
struct Writable;

impl VisitMut for Writable {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        match ty {
            Type::ImplTrait(_) => *ty = parse_quote!(_),
            _ => visit_mut::visit_type_mut(self, ty),
        }
    }
}

/// Returns the names that the parameters bind.
fn parameters(sig: &Signature) -> Vec<Ident> {
    let mut names = BoundNames::default();
    for input in &sig.inputs {
        match input {
            FnArg::Receiver(receiver) => names.0.push(receiver.self_token.into()),
            FnArg::Typed(input) => names.visit_pat_mut(&mut input.pat.clone()),
        }
    }
    names.0
}
