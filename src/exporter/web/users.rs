//! Passwords as bcrypt hashes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::hmac;
use tokio::sync::Mutex;

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
    /// Results of checks by the name of user and password. The lock is held while a hash is computed,
    /// so that wrong passwords keep only one processor busy.
    known: Mutex<HashMap<[u8; 32], bool>>,
}

impl Users {
    pub(super) fn new(hashes: HashMap<String, String>) -> Self {
        Self {
            hashes: Arc::new(hashes),
            known: Mutex::default(),
        }
    }

    pub(super) async fn admit(&self, headers: &HeaderMap) -> bool {
        if self.hashes.is_empty() {
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
        let mut known = self.known.lock().await;
        if let Some(admitted) = known.get(&name) {
            return *admitted;
        }
        let hashes = Arc::clone(&self.hashes);
        let check = move || {
            let hash = hashes.get(&user);
            // A user that does not exist takes as long as one that does.
            let Some(compared) = hash.or_else(|| hashes.values().next()) else {
                return false;
            };
            bcrypt::verify(&password, compared).unwrap_or(false) && hash.is_some()
        };
        let admitted = tokio::task::spawn_blocking(check).await.unwrap_or(false);
        if known.len() >= REMEMBERED {
            // Guesses must not evict the passwords that are right.
            known.retain(|_, admitted| *admitted);
        }
        if known.len() < REMEMBERED {
            known.insert(name, admitted);
        }
        admitted
    }
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
