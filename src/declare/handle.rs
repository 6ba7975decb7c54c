//! A series as a look-up gives it: borrowed, for now.
//!
//! The series of a closed label set have slots in one row, in the order of the combinations, from the first update of the
//! family on. So a look-up needs no pointer but the declaration's own: the row's place and a product. Everything else
//! is found when an update goes the cold way.

use crate::observe::{self, Tag};

use super::declaration::Declaration;
use super::desc::Desc;
use super::family::{Exported, Family};

/// One series of a family. See the module's text.
#[derive(Debug)]
pub(crate) struct Handle<'a, C: Exported>(At<'a, C>);

#[derive(Debug)]
enum At<'a, C: Exported> {
    Series(Found<'a, C>),
    /// In the row of a closed label set.
    Row {
        declaration: &'a Declaration<C>,
        /// The last cell of the series; a huge number as long as there is no row.
        last: u64,
        index: usize,
        /// How many combinations there are, and what they are.
        all: (usize, fn(usize) -> Vec<&'static str>),
    },
}

/// A series, and the generation it was found in.
#[derive(Debug)]
pub(crate) struct Found<'a, C: Exported> {
    pub(crate) family: &'a Family<C>,
    pub(crate) cells: &'a C,
    pub(crate) tag: Tag,
    /// Which series it is; `u32::MAX` for the overflow series.
    pub(crate) index: u32,
}

macro_rules! copy {
    ($($ty:ident),*) => {$(
        impl<C: Exported> Clone for $ty<'_, C> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<C: Exported> Copy for $ty<'_, C> {}
    )*};
}

copy!(Handle, At, Found);

impl<'a, C: Exported> From<Found<'a, C>> for Handle<'a, C> {
    #[inline(always)]
    fn from(found: Found<'a, C>) -> Self {
        Self(At::Series(found))
    }
}

impl<'a, C: Exported> Handle<'a, C> {
    /// Combination `index` of `all`, in the row of its family.
    #[inline(always)]
    pub(super) fn in_row(
        declaration: &'a Declaration<C>,
        index: usize,
        all: (usize, fn(usize) -> Vec<&'static str>),
    ) -> Self {
        let stride = observe::stride(C::cells(&declaration.desc));
        Self(At::Row {
            declaration,
            last: declaration.place.last(Tag::FIRST) + stride * index as u64,
            index,
            all,
        })
    }

    /// The last cell of its block; a huge number if it is cold or stale.
    #[inline(always)]
    pub(crate) fn last(&self) -> u64 {
        match self.0 {
            At::Series(found) => found.cells.place().last(found.tag),
            At::Row { last, .. } => last,
        }
    }

    /// What its family is and means; of a row it counts only where that is hot.
    #[inline(always)]
    pub(crate) fn desc(&self) -> &'a Desc {
        match self.0 {
            At::Series(found) => &found.family.desc,
            At::Row { declaration, .. } => &declaration.desc,
        }
    }

    /// The series itself, for an update that goes the cold way.
    #[inline]
    pub(crate) fn found(&self) -> Found<'a, C> {
        match self.0 {
            At::Series(found) => found,
            At::Row {
                declaration,
                index,
                all: (count, texts),
                ..
            } => declaration.in_row(count, index, texts),
        }
    }
}
