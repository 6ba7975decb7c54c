//! Recognizes function bodies that `async_trait` has rewritten: it binds the arguments to new
//! variables, `self` to `__self`, and puts the original body into a block after these bindings.
//!
//! Only that inner block is measured. If the bindings were measured too, a metric that is a field
//! of `self` would be borrowed while `self` moves into `__self`.

use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, Ident, Local, Pat, PatIdent, Stmt};

/// A body that `async_trait` has rewritten.
pub(crate) struct AsyncTraitBody<'a> {
    /// The original body.
    pub(crate) block: &'a mut Block,
    /// The variables that the arguments are bound to.
    pub(crate) names: Vec<Ident>,
    /// The new name of `self`.
    pub(crate) receiver: Option<Ident>,
}

/// Matches `{ let __self = self; let name = name; let __ret: T = { .. }; __ret }`.
pub(crate) fn original_body(block: &mut Block) -> Option<AsyncTraitBody<'_>> {
    let index = block.stmts.iter().position(holds_body)?;
    let (before, rest) = block.stmts.split_at_mut(index);
    let [Stmt::Local(body), after @ ..] = rest else {
        return None;
    };
    if after.len() > 1 || !before.iter().all(is_binding) {
        return None;
    }
    let mut bound = BoundNames::default();
    for stmt in before {
        if let Stmt::Local(local) = stmt {
            bound.visit_pat_mut(&mut local.pat);
        }
    }
    match &mut *body.init.as_mut()?.expr {
        Expr::Block(body) => Some(AsyncTraitBody {
            block: &mut body.block,
            receiver: bound.0.iter().find(|name| *name == "__self").cloned(),
            names: bound.0,
        }),
        _ => None,
    }
}

/// Returns whether the statement is `let __ret: T = { .. };` or `let _: () = { .. };`.
fn holds_body(stmt: &Stmt) -> bool {
    let Stmt::Local(Local {
        pat: Pat::Type(pat),
        init: Some(init),
        ..
    }) = stmt
    else {
        return false;
    };
    let named = match &*pat.pat {
        Pat::Ident(pat) => pat.ident == "__ret",
        pat => matches!(pat, Pat::Wild(_)),
    };
    named && matches!(&*init.expr, Expr::Block(body) if body.label.is_none())
}

/// Returns whether the statement is `let name = name;`, `let pattern = { .. };`, or the `if` that
/// never runs and only fixes the return type.
fn is_binding(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Local(Local {
            init: Some(init), ..
        }) => match &*init.expr {
            Expr::Path(_) => true,
            Expr::Block(block) => matches!(
                block.block.stmts.last(),
                Some(Stmt::Expr(Expr::Path(path), None))
                    if path.path.get_ident().is_some_and(|name| name.to_string().starts_with("__arg"))
            ),
            _ => false,
        },
        Stmt::Expr(Expr::If(_), None) => true,
        _ => false,
    }
}

/// Collects the names that patterns bind.
#[derive(Default)]
pub(crate) struct BoundNames(pub(crate) Vec<Ident>);

impl VisitMut for BoundNames {
    fn visit_pat_ident_mut(&mut self, pat: &mut PatIdent) {
        self.0.push(pat.ident.clone());
        visit_mut::visit_pat_ident_mut(self, pat);
    }

    fn visit_receiver_mut(&mut self, receiver: &mut syn::Receiver) {
        self.0.push(receiver.self_token.into());
    }
}
