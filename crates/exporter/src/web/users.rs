//! Passwords as bcrypt hashes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::hmac;
use tallies::serve::Admission;

/// The most results that are remembered. More are not needed by anyone who knows a password.
const REMEMBERED: usize = 100;

/// Names users and passwords in memory. Made once, of random bytes.
static KEY: LazyLock<hmac::Key> = LazyLock::new(|| {
    let random = ring::rand::SystemRandom::new();
    hmac::Key::generate(hmac::HMAC_SHA256, &random)
        // Without random numbers, the address of a value is better than a constant.
        .unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, format!("{:p}", &random).as_bytes()))
});

/// The users that may read the pages. If there are none, everyone may.
#[derive(Default)]
pub(super) struct Users {
    hashes: Arc<HashMap<String, String>>,
    /// The hash with which users are compared that do not exist: the dearest, so that they take as
    /// long as any that do.
    dearest: Option<String>,
    /// Results of checks. Read and written by requests.
    known: Arc<Mutex<HashMap<Name, Known>>>,
}

/// The name of a user and a password.
pub(super) type Name = [u8; 32];

/// The result of a check.
#[derive(Clone)]
struct Known {
    user: String,
    admitted: bool,
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
        }
    }

    /// Returns whether nobody needs a password.
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Takes over what is known about users whose hash is the same in `before`.
    pub(super) fn remember(&mut self, before: &Self) {
        let mut known = lock(&before.known).clone();
        known.retain(|_, known| self.hashes.get(&known.user) == before.hashes.get(&known.user));
        *lock(&self.known) = known;
    }

    /// Returns the user and the password of a request, if it has them.
    pub(super) fn login(headers: &HeaderMap) -> Option<Login> {
        let (user, password) = credentials(headers)?;
        let length = (user.len() as u64).to_le_bytes();
        let both = [&length[..], user.as_bytes(), &password].concat();
        let name = hmac::sign(&KEY, &both).as_ref().try_into().ok()?;
        Some(Login {
            user,
            password,
            name,
        })
    }

    /// Returns whether the password is known to be right or wrong.
    pub(super) fn known(&self, login: &Login) -> Option<bool> {
        let known = lock(&self.known);
        known.get(&login.name).map(|known| known.admitted)
    }

    /// Admits a request, or returns the check of its password, which takes long.
    pub(super) fn admit(&self, login: Option<Login>) -> Admission {
        let known = login.as_ref().and_then(|login| self.known(login));
        match (login, known) {
            _ if self.is_empty() => Admission::Admitted,
            (_, Some(true)) => Admission::Admitted,
            (None, _) | (_, Some(false)) => Admission::Unauthorized,
            (Some(login), None) => self.check(login),
        }
    }

    fn check(&self, login: Login) -> Admission {
        let (hashes, known) = (Arc::clone(&self.hashes), Arc::clone(&self.known));
        let dearest = self.dearest.clone();
        Admission::Check(Box::new(move || {
            // While this one waited, another request may have had the same password.
            if let Some(known) = lock(&known).get(&login.name) {
                return known.admitted;
            }
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
        }))
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
    use super::*;

    fn login(both: &str) -> Option<Login> {
        let value = format!("Basic {}", STANDARD.encode(both));
        Users::login(&HeaderMap::from_iter([(
            AUTHORIZATION,
            value.parse().unwrap(),
        )]))
    }

    /// Runs the check, if there is one.
    fn verdict(admission: Admission) -> bool {
        match admission {
            Admission::Admitted => true,
            Admission::Check(check) => check(),
            _ => false,
        }
    }

    #[test]
    fn a_password_that_is_known_does_not_wait_for_guesses() {
        let hash = bcrypt::hash("right", 4).unwrap();
        let mut users = Users::new([("ann".to_owned(), hash)].into());
        let admit = |users: &Users, both: &str| format!("{:?}", users.admit(login(both)));
        assert_eq!(admit(&users, "ann:right"), "Check(..)", "its turn comes");
        assert!(verdict(users.admit(login("ann:right"))));
        assert!(!verdict(users.admit(login("ann:wrong"))));
        assert_eq!(admit(&users, "ann:right"), "Admitted");
        assert_eq!(admit(&users, "ann:wrong"), "Unauthorized");
        assert_eq!(admit(&users, "ann:another"), "Check(..)", "its turn comes");
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
        assert_eq!(admit(&reloaded, "ann:right"), "Admitted");
        users.hashes = Arc::default();
        assert_eq!(admit(&users, "ann:another"), "Admitted", "everyone may");
    }

    /// While a request waits for its turn, another one may have had the same password.
    #[test]
    fn the_same_password_is_hashed_once() {
        let hash = bcrypt::hash("right", 4).unwrap();
        let mut users = Users::new([("ann".to_owned(), hash)].into());
        let (first, second) = (
            users.admit(login("ann:right")),
            users.admit(login("ann:right")),
        );
        assert!(verdict(first));
        users.hashes = Arc::default();
        lock(&users.known)
            .values_mut()
            .for_each(|known| known.admitted = false);
        assert!(!verdict(second), "it is what the first one has found out");
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
