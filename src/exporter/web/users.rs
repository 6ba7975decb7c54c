//! Passwords as bcrypt hashes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::hmac;

use crate::serve::extension::Admission;
use crate::serve::peer::Peer;
use crate::serve::places::Places;
use crate::serve::turns::Turns;

/// The most results that are remembered. More are not needed by anyone who knows a password.
const REMEMBERED: usize = 100;

/// The most requests whose passwords are checked or wait for that: as many as a server has
/// connections by default. Others are rejected at once.
const CHECKS: usize = 256;

/// Those of one peer, if half of them are taken.
const SHARE: usize = 8;

/// Names users and passwords in memory. Made once, of random bytes.
static KEY: LazyLock<hmac::Key> = LazyLock::new(|| {
    let random = ring::rand::SystemRandom::new();
    hmac::Key::generate(hmac::HMAC_SHA256, &random)
        // Without random numbers, the address of a value is better than a constant.
        .unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, format!("{:p}", &random).as_bytes()))
});

/// The users that may read the pages. If there are none, everyone may.
pub(super) struct Users {
    hashes: Arc<HashMap<String, String>>,
    /// The hash with which users are compared that do not exist: the dearest, so that they take as
    /// long as any that do.
    dearest: Option<String>,
    /// Results of checks. Read and written by requests.
    known: Arc<Mutex<HashMap<Name, Known>>>,
    checks: Checks,
}

/// The name of a user and a password.
pub(super) type Name = [u8; 32];

/// The result of a check.
#[derive(Clone)]
struct Known {
    user: String,
    admitted: bool,
}

/// Bounds the checks of passwords. The same for all web configurations of an exporter. Requests
/// whose result is known do not wait for it.
#[derive(Clone)]
struct Checks {
    /// One for each request that waits.
    places: Arc<Places>,
    /// Held while a hash is computed, even if the client has gone, so that wrong passwords keep
    /// only one processor busy. The peers take turns.
    turns: Turns,
}

/// A request for the pages.
pub(super) struct Login {
    user: String,
    password: Vec<u8>,
    name: Name,
}

impl Users {
    pub(super) fn new(hashes: HashMap<String, String>) -> Self {
        let cost = |hash: &&String| hash.parse().map_or(0, |parts: HashParts| parts.get_cost());
        Self {
            dearest: hashes.values().max_by_key(cost).cloned(),
            hashes: Arc::new(hashes),
            known: Arc::default(),
            checks: Checks {
                places: Places::new(CHECKS, SHARE),
                turns: Turns::new(1),
            },
        }
    }

    /// Returns whether nobody needs a password.
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Takes over what is known about users whose hash is the same in `before`.
    pub(super) fn remember(&mut self, before: &Self) {
        let known = lock(&before.known).clone();
        let is_same =
            |known: &Known| self.hashes.get(&known.user) == before.hashes.get(&known.user);
        *lock(&self.known) = known
            .into_iter()
            .filter(|(_, known)| is_same(known))
            .collect();
        self.checks = before.checks.clone();
    }

    /// Returns the user and the password of a request, if it has them.
    pub(super) fn login(headers: &HeaderMap) -> Option<Login> {
        let (user, password) = credentials(headers)?;
        let mut context = hmac::Context::with_key(&KEY);
        context.update(&(user.len() as u64).to_le_bytes());
        context.update(user.as_bytes());
        context.update(&password);
        let mut name = [0; 32];
        name.copy_from_slice(context.sign().as_ref());
        Some(Login {
            user,
            password,
            name,
        })
    }

    /// Returns whether the password is known to be right or wrong.
    pub(super) fn known(&self, login: &Login) -> Option<bool> {
        lock(&self.known)
            .get(&login.name)
            .map(|known| known.admitted)
    }

    /// Checks the password of a request.
    pub(super) async fn admit(&self, login: Option<Login>, peer: Option<Peer>) -> Admission {
        let verdict = |admitted| match admitted {
            true => Admission::Admitted,
            false => Admission::Unauthorized,
        };
        if self.is_empty() {
            return Admission::Admitted;
        }
        let Some(login) = login else {
            return Admission::Unauthorized;
        };
        if let Some(admitted) = self.known(&login) {
            return verdict(admitted);
        }
        let Some(place) = self.checks.places.take(peer) else {
            return Admission::TooMany;
        };
        let Some(turn) = self.checks.turns.of(peer).take().await else {
            return Admission::TooMany;
        };
        // Another request may have had the same password.
        if let Some(admitted) = self.known(&login) {
            return verdict(admitted);
        }
        let (hashes, known) = (Arc::clone(&self.hashes), Arc::clone(&self.known));
        let dearest = self.dearest.clone();
        let check = move || {
            let _held = (place, turn);
            let hash = hashes.get(&login.user);
            let Some(compared) = hash.or(dearest.as_ref()) else {
                return false;
            };
            let admitted =
                bcrypt::verify(&login.password, compared).unwrap_or(false) && hash.is_some();
            let mut known = lock(&known);
            if known.len() >= REMEMBERED {
                // Guesses must not evict the passwords that are right.
                known.retain(|_, known| known.admitted);
            }
            if known.len() < REMEMBERED {
                let user = login.user;
                known.insert(login.name, Known { user, admitted });
            }
            admitted
        };
        verdict(tokio::task::spawn_blocking(check).await.unwrap_or(false))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the user and the password of a request.
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let header = headers.get(AUTHORIZATION)?.as_bytes();
    let blank = header.iter().position(|byte| *byte == b' ')?;
    if !header[..blank].eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let both = STANDARD.decode(header[blank..].trim_ascii()).ok()?;
    let colon = both.iter().position(|byte| *byte == b':')?;
    let user = String::from_utf8(both[..colon].to_vec()).ok()?;
    Some((user, both[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn a_password_that_is_known_does_not_wait_for_guesses() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let hash = bcrypt::hash("right", 4).unwrap();
        let mut users = Users::new([("ann".to_owned(), hash)].into());
        let login = |both: &str| {
            let value = format!("Basic {}", STANDARD.encode(both));
            Users::login(&HeaderMap::from_iter([(
                AUTHORIZATION,
                value.parse().unwrap(),
            )]))
        };
        let peer = |last| Some(Peer::of(([192, 0, 2, last], 1).into()));
        let admit = |users: &Users, both: &str| runtime.block_on(users.admit(login(both), peer(1)));
        assert_eq!(admit(&users, "ann:right"), Admission::Admitted);
        assert_eq!(admit(&users, "ann:wrong"), Admission::Unauthorized);
        let turn = runtime.block_on(users.checks.turns.take());
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = |users: &Users, both: &str| {
            std::pin::pin!(users.admit(login(both), peer(1))).poll(&mut context)
        };
        let (admitted, unauthorized) = (
            Poll::Ready(Admission::Admitted),
            Poll::Ready(Admission::Unauthorized),
        );
        assert_eq!(poll(&users, "ann:right"), admitted);
        assert_eq!(poll(&users, "ann:wrong"), unauthorized);
        assert_eq!(poll(&users, "ann:another"), Poll::Pending, "its turn comes");
        drop(turn);
        // A reload keeps what is known about users that have not changed.
        let hashes = [("ann", 4), ("bob", 4)]
            .map(|(user, cost)| (user.to_owned(), bcrypt::hash("right", cost).unwrap()));
        let mut reloaded = Users::new(hashes.into());
        reloaded.remember(&users);
        assert_eq!(
            reloaded.known(&login("ann:right").unwrap()),
            None,
            "the hash is new"
        );
        reloaded.hashes = Arc::clone(&users.hashes);
        reloaded.remember(&users);
        assert_eq!(poll(&reloaded, "ann:right"), admitted);
        users.hashes = Arc::default();
        assert_eq!(poll(&users, "ann:another"), admitted, "everyone may");
    }

    /// With 200 guesses before it, an honest request waited until it timed out, and then the next
    /// one did.
    #[test]
    fn guesses_of_one_peer_hold_up_another_for_one_check() {
        let users = Users::new([("ann".to_owned(), bcrypt::hash("right", 4).unwrap())].into());
        let guess = |i: u8| {
            let (user, password) = ("ann".to_owned(), vec![i]);
            let name = [i; 32];
            Some(Login {
                user,
                password,
                name,
            })
        };
        let peer = |last: usize| Some(Peer::of(([192, 0, 2, last as u8], 1).into()));
        let mut context = Context::from_waker(Waker::noop());
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.build().unwrap().block_on(async {
            let turn = users.checks.turns.of(peer(1)).take().await;
            let mut guesses = Vec::new();
            for i in 0..200 {
                let mut guess = Box::pin(users.admit(guess(i), peer(1)));
                match guess.as_mut().poll(&mut context) {
                    Poll::Pending => guesses.push(guess),
                    answer => assert_eq!(answer, Poll::Ready(Admission::TooMany)),
                }
            }
            assert_eq!(guesses.len(), CHECKS / 2);
            // 200 guesses of 100 peers took all places, again and again.
            for i in 0..100 {
                let mut guess = Box::pin(users.admit(guess(i), peer(3 + usize::from(i))));
                assert!(guess.as_mut().poll(&mut context).is_pending());
                guesses.push(guess);
            }
            let honest = Login {
                password: b"right".to_vec(),
                ..guess(255).unwrap()
            };
            let mut honest = Box::pin(users.admit(Some(honest), peer(2)));
            assert!(honest.as_mut().poll(&mut context).is_pending());
            drop((turn, guesses.split_off(CHECKS / 2)));
            assert_eq!(
                honest.await,
                Admission::Admitted,
                "none of the guesses is polled"
            );
        });
    }

    #[test]
    fn users_that_do_not_exist_are_compared_with_the_dearest_hash() {
        let hash = |cost| bcrypt::hash("right", cost).unwrap();
        let costs = [("ann", 5), ("bob", 6), ("eve", 4)];
        let hashes = costs.map(|(user, cost)| (user.to_owned(), hash(cost)));
        let users = Users::new(hashes.clone().into());
        assert_eq!(users.dearest.as_ref(), Some(&hashes[1].1));
    }
}
