//! Passwords of dynamic security: PBKDF2 with HMAC-SHA512, as Mosquitto has them.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA512, derive, verify};
use aws_lc_rs::rand::fill;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Length of the derived key.
pub(crate) const HASH_BYTES: usize = 64;

/// Length of the salts that are made here, which Mosquitto 2.0 can read; 2.1 makes 64 bytes.
const SALT_BYTES: usize = 12;

/// Longest salt that is read.
const SALT_BYTES_MAX: usize = 64;

/// Most iterations that are read: more would keep everybody waiting who has this password checked.
const ITERATIONS_MAX: u32 = 10_000_000;

/// Iterations of a password that is set here: some milliseconds for each connection. Mosquitto 2.0
/// uses 101 and takes whatever number the file has.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(10_000).unwrap();

/// A hashed password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Password {
    hash: Box<[u8; HASH_BYTES]>,
    salt: Box<[u8]>,
    iterations: NonZeroU32,
}

impl Password {
    /// Hashes a new password. `None` if the system gives no random salt.
    pub(crate) fn new(password: &str) -> Option<Self> {
        let mut salt = [0; SALT_BYTES];
        fill(&mut salt).ok()?;
        let mut hash = Box::new([0; HASH_BYTES]);
        derive(PBKDF2_HMAC_SHA512, ITERATIONS, &salt, password.as_bytes(), hash.as_mut_slice());
        Some(Self { hash, salt: Box::new(salt), iterations: ITERATIONS })
    }

    /// The one that the file has; `None` if it cannot be one.
    pub(crate) fn read(password: &str, salt: &str, iterations: u32) -> Option<Self> {
        let hash: [u8; HASH_BYTES] = STANDARD.decode(password).ok()?.try_into().ok()?;
        let salt = STANDARD.decode(salt).ok()?;
        let iterations = NonZeroU32::new(iterations).filter(|n| n.get() <= ITERATIONS_MAX)?;
        (salt.len() <= SALT_BYTES_MAX).then(|| Self {
            hash: Box::new(hash),
            salt: salt.into(),
            iterations,
        })
    }

    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        let hash = self.hash.as_slice();
        verify(PBKDF2_HMAC_SHA512, self.iterations, &self.salt, password, hash).is_ok()
    }

    pub(crate) fn hash_base64(&self) -> String {
        STANDARD.encode(self.hash.as_slice())
    }

    pub(crate) fn salt_base64(&self) -> String {
        STANDARD.encode(&self.salt)
    }

    pub(crate) fn iterations(&self) -> u32 {
        self.iterations.get()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        HASH_BYTES + self.salt.len()
    }
}
