//! Recognizes function bodies that `async_trait` has rewritten: it binds the arguments to new
//! variables, `self` to `__self`, and puts the original body into a block after these bindings.
//!
//! Only that inner block is measured. If the bindings were measured too, a metric that is a field
//! of `self` would be borrowed while `self` moves into `__self`.

use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, Ident, Local, Pat, PatIdent, Stmt};

/// Matches `{ let __self = self; let name = name; let __ret: T = { .. }; __ret }`. Returns the
/// variables that the arguments are bound to, and the original body.
pub(crate) fn original_body(block: &mut Block) -> Option<(Vec<Ident>, &mut Block)> {
    let index = block.stmts.iter().position(holds_body)?;
    let (before, rest) = block.stmts.split_at_mut(index);
    let [Stmt::Local(body), after @ ..] = rest else {
        return None;
    };
    if after.len() > 1 || !before.iter().all(is_binding) {
        return None;
    }
    let mut names = BoundNames::default();
    for stmt in before {
        if let Stmt::Local(local) = stmt {
            names.visit_pat_mut(&mut local.pat);
        }
    }
    match &mut *body.init.as_mut()?.expr {
        Expr::Block(body) => Some((names.0, &mut body.block)),
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
}
