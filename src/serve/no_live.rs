//! In the place of the live page, without the feature `live`: no path has it.

use http::Request;

use super::answer::Answer;
use super::peer::Peer;

pub(super) const PATH: &str = "/live";

pub(super) fn is_part(_: &str) -> bool {
    false
}

#[derive(Clone)]
pub(super) struct Live;

impl Live {
    pub(super) fn remember(&self) {}

    pub(super) fn answer<B>(&self, _: &str, _: &Request<B>, _: Option<Peer>) -> Option<Answer> {
        None
    }
}
