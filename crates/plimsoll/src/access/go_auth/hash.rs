//! Password hashes in the forms of go-auth's `pw`: PBKDF2, bcrypt and Argon2id.

use std::fmt;
use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA512};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// Most iterations of PBKDF2, memory (KiB) of Argon2 and cost of bcrypt that are read: a worker is
/// not to be kept busy by one login for minutes.
const ITERATIONS_MAX: u32 = 10_000_000;
const MEMORY_MAX: u32 = 1 << 20;
const TIME_MAX: u32 = 100;
const COST_MAX: u32 = 16;

/// A hashed password.
pub(crate) enum Hash {
    Pbkdf2 { algorithm: pbkdf2::Algorithm, iterations: NonZeroU32, salt: Vec<u8>, key: Vec<u8> },
    Bcrypt(String),
    Argon2id { params: Params, salt: Vec<u8>, key: Vec<u8> },
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pbkdf2 { .. } => "PBKDF2",
            Self::Bcrypt(_) => "bcrypt",
            Self::Argon2id { .. } => "Argon2id",
        })
    }
}

impl Hash {
    /// Reads one. `raw_salt`: the salt of PBKDF2 is text (`hasher_salt_encoding utf-8`).
    pub(crate) fn read(text: &str, raw_salt: bool) -> Result<Self, &'static str> {
        if text.starts_with("PBKDF2$") {
            return read_pbkdf2(text, raw_salt)
                .ok_or("is not `PBKDF2$sha512$ITERATIONS$SALT$HASH`");
        }
        if text.starts_with("$argon2id$") {
            return read_argon2(text).ok_or("is not `$argon2id$v=19$m=…,t=…,p=…$SALT$HASH`");
        }
        if text.starts_with("$2") {
            let cost = text.split('$').nth(2).and_then(|cost| cost.parse::<u32>().ok());
            let fits = text.len() == 60 && cost.is_some_and(|cost| cost <= COST_MAX);
            return fits
                .then(|| Self::Bcrypt(text.to_owned()))
                .ok_or("is not a bcrypt hash of at most cost 16");
        }
        Err("is none of PBKDF2$…, $2a$… (bcrypt) and $argon2id$…; go-auth's `pw` makes them")
    }

    pub(crate) fn verify(&self, password: &str) -> bool {
        match self {
            Self::Pbkdf2 { algorithm, iterations, salt, key } => {
                pbkdf2::verify(*algorithm, *iterations, salt, password.as_bytes(), key).is_ok()
            }
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Argon2id { params, salt, key } => {
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
                let mut derived = vec![0; key.len()];
                argon2.hash_password_into(password.as_bytes(), salt, &mut derived).is_ok()
                    && verify_slices_are_equal(&derived, key).is_ok()
            }
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Pbkdf2 { salt, key, .. } | Self::Argon2id { salt, key, .. } => {
                salt.capacity() + key.capacity()
            }
            Self::Bcrypt(hash) => hash.capacity(),
        }
    }
}

fn read_pbkdf2(text: &str, raw_salt: bool) -> Option<Hash> {
    let mut parts = text.split('$').skip(1);
    let algorithm = match parts.next()? {
        "sha512" => PBKDF2_HMAC_SHA512,
        "sha256" => PBKDF2_HMAC_SHA256,
        _ => return None,
    };
    let iterations: NonZeroU32 = parts.next()?.parse().ok()?;
    let (salt, key) = (parts.next()?, parts.next()?);
    let salt = if raw_salt { salt.as_bytes().to_vec() } else { STANDARD.decode(salt).ok()? };
    let key = STANDARD.decode(key).ok().filter(|key| key.len() >= 16)?;
    let whole = parts.next().is_none() && iterations.get() <= ITERATIONS_MAX;
    whole.then_some(Hash::Pbkdf2 { algorithm, iterations, salt, key })
}

fn read_argon2(text: &str) -> Option<Hash> {
    let mut parts = text.split('$').skip(2);
    if parts.next()? != "v=19" {
        return None;
    }
    let (mut memory, mut time, mut lanes) = (None, None, None);
    for setting in parts.next()?.split(',') {
        let (name, value) = setting.split_once('=')?;
        let value: u32 = value.parse().ok()?;
        match name {
            "m" => memory = Some(value),
            "t" => time = Some(value),
            "p" => lanes = Some(value),
            _ => return None,
        }
    }
    let (memory, time) = (memory?, time?);
    if memory > MEMORY_MAX || time > TIME_MAX {
        return None;
    }
    let salt = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
    let key = STANDARD_NO_PAD.decode(parts.next()?).ok().filter(|key| key.len() >= 16)?;
    let params = Params::new(memory, time, lanes?, Some(key.len())).ok()?;
    parts.next().is_none().then_some(Hash::Argon2id { params, salt, key })
}
