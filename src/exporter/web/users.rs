//! Passwords as bcrypt hashes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::hmac;

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
pub(super) struct Users {
    hashes: Arc<HashMap<String, String>>,
    /// The hash with which users are compared that do not exist: the dearest, so that they take as
    /// long as any that do.
    dearest: Option<String>,
    /// Results of checks by the name of user and password. Read and written by requests.
    known: Arc<Mutex<HashMap<[u8; 32], bool>>>,
    /// Held while a hash is computed, even if the client has gone, so that wrong passwords keep only
    /// one processor busy. Requests whose result is known do not wait for it.
    computing: Arc<tokio::sync::Mutex<()>>,
}

impl Users {
    pub(super) fn new(hashes: HashMap<String, String>) -> Self {
        let cost = |hash: &&String| hash.parse().map_or(0, |parts: HashParts| parts.get_cost());
        Self {
            dearest: hashes.values().max_by_key(cost).cloned(),
            hashes: Arc::new(hashes),
            known: Arc::default(),
            computing: Arc::default(),
        }
    }

    /// Returns whether nobody needs a password.
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    pub(super) async fn admit(&self, headers: &HeaderMap) -> bool {
        if self.is_empty() {
            return true;
        }
        let Some((user, password)) = credentials(headers) else {
            return false;
        };
        let mut context = hmac::Context::with_key(&KEY);
        context.update(&(user.len() as u64).to_le_bytes());
        context.update(user.as_bytes());
        context.update(&password);
        let mut name = [0; 32];
        name.copy_from_slice(context.sign().as_ref());
        if let Some(admitted) = lock(&self.known).get(&name) {
            return *admitted;
        }
        let turn = Arc::clone(&self.computing).lock_owned().await;
        let (hashes, known) = (Arc::clone(&self.hashes), Arc::clone(&self.known));
        let dearest = self.dearest.clone();
        let check = move || {
            let _turn = turn;
            // Another request may have had the same password.
            if let Some(admitted) = lock(&known).get(&name) {
                return *admitted;
            }
            let hash = hashes.get(&user);
            let Some(compared) = hash.or(dearest.as_ref()) else {
                return false;
            };
            let admitted = bcrypt::verify(&password, compared).unwrap_or(false) && hash.is_some();
            let mut known = lock(&known);
            if known.len() >= REMEMBERED {
                // Guesses must not evict the passwords that are right.
                known.retain(|_, admitted| *admitted);
            }
            if known.len() < REMEMBERED {
                known.insert(name, admitted);
            }
            admitted
        };
        tokio::task::spawn_blocking(check).await.unwrap_or(false)
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
        let users = Users::new([("ann".to_owned(), hash)].into());
        let headers = |both: &str| {
            let value = format!("Basic {}", STANDARD.encode(both));
            HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
        };
        assert!(runtime.block_on(users.admit(&headers("ann:right"))));
        assert!(!runtime.block_on(users.admit(&headers("ann:wrong"))));
        let _guessing = users.computing.try_lock().unwrap();
        let poll = |headers: &HeaderMap| {
            let mut context = Context::from_waker(Waker::noop());
            std::pin::pin!(users.admit(headers)).poll(&mut context)
        };
        assert_eq!(poll(&headers("ann:right")), Poll::Ready(true));
        assert_eq!(poll(&headers("ann:wrong")), Poll::Ready(false));
        assert_eq!(
            poll(&headers("ann:another")),
            Poll::Pending,
            "its turn comes"
        );
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
