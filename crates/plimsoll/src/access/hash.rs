//! Hashed passwords in the forms that Mosquitto's password files have.

use std::fmt;
use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA512};
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA512};
use aws_lc_rs::rand::fill;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use plimsoll_ledger::Measure;

/// Length of SHA-512's output, and of the keys that are derived with it.
const SHA512_BYTES: usize = 64;

/// Salts of new hashes. Mosquitto 2.0 reads only these; 2.1 writes 64 bytes, which locks everybody
/// out after a way back to 2.0.
const SALT_BYTES: usize = 12;

/// Salt of a new Argon2id hash.
const ARGON2_SALT_BYTES: usize = 16;

/// Lengths of salts that are read.
const SALTS_BYTES: std::ops::RangeInclusive<usize> = 8..=64;

/// Iterations of PBKDF2 for a new hash. Mosquitto 2.0 uses 101 and reads any number.
pub(crate) const ITERATIONS: NonZeroU32 = NonZeroU32::new(10_000).unwrap();

/// What is read at most: a file must not be able to keep a thread busy for minutes, or take all memory.
const ITERATIONS_MAX: u32 = 10_000_000;
const ARGON2_MEMORY_KIB_MAX: u32 = 256 * 1024;
const ARGON2_TIME_MAX: u32 = 64;

/// Argon2id as Mosquitto 2.1 sets it: KiB of memory, passes, lanes.
const ARGON2: (u32, u32, u32) = (47_104, 1, 1);

/// A hashed password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Hash {
    /// `$6$`: SHA-512 of password and salt.
    Sha512 { salt: Box<[u8]>, hash: Box<[u8]> },
    /// `$7$`: PBKDF2 with HMAC-SHA512.
    Pbkdf2 { iterations: NonZeroU32, salt: Box<[u8]>, hash: Box<[u8]> },
    /// `$argon2id$`: RFC 9106.
    Argon2id { memory_kib: u32, time: u32, lanes: u32, salt: Box<[u8]>, hash: Box<[u8]> },
}

/// How a new password is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Method {
    /// RFC 9106; Mosquitto reads it from 2.1 on
    Argon2id,
    /// PBKDF2 with HMAC-SHA512; Mosquitto reads it from 2.0 on
    Sha512Pbkdf2,
    /// One round of SHA-512, for Mosquitto 1.x; weak
    Sha512,
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha512 { .. } => "$6$…",
            Self::Pbkdf2 { .. } => "$7$…",
            Self::Argon2id { .. } => "$argon2id$…",
        })
    }
}

impl fmt::Display for Hash {
    /// The form that stands in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha512 { salt, hash } => {
                write!(f, "$6${}${}", STANDARD.encode(salt), STANDARD.encode(hash))
            }
            Self::Pbkdf2 { iterations, salt, hash } => {
                write!(f, "$7${iterations}${}${}", STANDARD.encode(salt), STANDARD.encode(hash))
            }
            Self::Argon2id { memory_kib, time, lanes, salt, hash } => write!(
                f,
                "$argon2id$v=19$m={memory_kib},t={time},p={lanes}${}${}",
                STANDARD_NO_PAD.encode(salt),
                STANDARD_NO_PAD.encode(hash)
            ),
        }
    }
}

impl Hash {
    /// Hashes a new password.
    pub(crate) fn new(
        method: Method,
        iterations: NonZeroU32,
        password: &[u8],
    ) -> Result<Self, String> {
        let salt_bytes = if method == Method::Argon2id { ARGON2_SALT_BYTES } else { SALT_BYTES };
        let mut salt = vec![0; salt_bytes];
        fill(&mut salt).map_err(|_| "the system gives no random bytes".to_owned())?;
        let salt = salt.into_boxed_slice();
        Ok(match method {
            Method::Sha512 => {
                let hash = sha512(password, &salt);
                Self::Sha512 { salt, hash }
            }
            Method::Sha512Pbkdf2 => {
                let mut hash = vec![0; SHA512_BYTES].into_boxed_slice();
                pbkdf2::derive(PBKDF2_HMAC_SHA512, iterations, &salt, password, &mut hash);
                Self::Pbkdf2 { iterations, salt, hash }
            }
            Method::Argon2id => {
                let (memory_kib, time, lanes) = ARGON2;
                let hash = argon2id(password, &salt, ARGON2, SHA512_BYTES)
                    .ok_or("Argon2id failed: is there memory?")?;
                Self::Argon2id { memory_kib, time, lanes, salt, hash }
            }
        })
    }

    /// Reads the form that stands in a file.
    pub(crate) fn read(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.split('$');
        if parts.next() != Some("") {
            return Err(
                "the password is not hashed: run `plimsoll passwd -U FILE`, which hashes all of a file",
            );
        }
        match parts.next() {
            Some("6") => read_sha512(parts).ok_or("is not `$6$SALT$HASH` in base64"),
            Some("7") => read_pbkdf2(parts).ok_or("is not `$7$ITERATIONS$SALT$HASH` in base64"),
            Some("argon2id") => read_argon2id(parts)
                .ok_or("is not `$argon2id$v=19$m=…,t=…,p=…$SALT$HASH` in base64"),
            _ => Err("is none of $6$ (sha512), $7$ (sha512-pbkdf2) and $argon2id$"),
        }
    }

    /// Whether this is the password. Takes its time, on purpose.
    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Sha512 { salt, hash } => {
                verify_slices_are_equal(&sha512(password, salt), hash).is_ok()
            }
            Self::Pbkdf2 { iterations, salt, hash } => {
                pbkdf2::verify(PBKDF2_HMAC_SHA512, *iterations, salt, password, hash).is_ok()
            }
            Self::Argon2id { memory_kib, time, lanes, salt, hash } => {
                let derived = argon2id(password, salt, (*memory_kib, *time, *lanes), hash.len());
                derived.is_some_and(|derived| verify_slices_are_equal(&derived, hash).is_ok())
            }
        }
    }

    /// Bytes that a verification takes while it runs.
    pub(crate) fn working_bytes(&self) -> usize {
        match self {
            Self::Sha512 { .. } | Self::Pbkdf2 { .. } => 0,
            Self::Argon2id { memory_kib, .. } => *memory_kib as usize * 1024,
        }
    }

    /// Whether a check takes no time or memory worth counting.
    pub(crate) fn is_cheap(&self) -> bool {
        match self {
            Self::Sha512 { .. } => true,
            Self::Pbkdf2 { iterations, .. } => iterations.get() <= 100,
            Self::Argon2id { memory_kib, time, .. } => *memory_kib <= 64 && *time <= 2,
        }
    }

    /// Bytes of its parts.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Sha512 { salt, hash }
            | Self::Pbkdf2 { salt, hash, .. }
            | Self::Argon2id { salt, hash, .. } => salt.heap_bytes() + hash.heap_bytes(),
        }
    }
}

fn sha512(password: &[u8], salt: &[u8]) -> Box<[u8]> {
    let mut context = digest::Context::new(&SHA512);
    context.update(password);
    context.update(salt);
    Box::from(context.finish().as_ref())
}

fn argon2id(
    password: &[u8],
    salt: &[u8],
    (memory_kib, time, lanes): (u32, u32, u32),
    length: usize,
) -> Option<Box<[u8]>> {
    let params = Params::new(memory_kib, time, lanes, Some(length)).ok()?;
    let mut hash = vec![0; length].into_boxed_slice();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password, salt, &mut hash).ok()?;
    Some(hash)
}

type SaltAndHash = (Box<[u8]>, Box<[u8]>);

fn salt_and_hash<'a>(
    mut parts: impl Iterator<Item = &'a str>,
    decode: impl Fn(&str) -> Option<Vec<u8>>,
) -> Option<SaltAndHash> {
    let (salt, hash) = (decode(parts.next()?)?, decode(parts.next()?)?);
    let whole = parts.next().is_none() && SALTS_BYTES.contains(&salt.len());
    whole.then(|| (salt.into(), hash.into()))
}

fn read_sha512<'a>(parts: impl Iterator<Item = &'a str>) -> Option<Hash> {
    let (salt, hash) = salt_and_hash(parts, |text| STANDARD.decode(text).ok())?;
    (hash.len() == SHA512_BYTES).then_some(Hash::Sha512 { salt, hash })
}

fn read_pbkdf2<'a>(mut parts: impl Iterator<Item = &'a str>) -> Option<Hash> {
    let iterations: NonZeroU32 = parts.next()?.parse().ok()?;
    let (salt, hash) = salt_and_hash(parts, |text| STANDARD.decode(text).ok())?;
    let fits = hash.len() == SHA512_BYTES && iterations.get() <= ITERATIONS_MAX;
    fits.then_some(Hash::Pbkdf2 { iterations, salt, hash })
}

fn read_argon2id<'a>(mut parts: impl Iterator<Item = &'a str>) -> Option<Hash> {
    if parts.next()? != "v=19" {
        return None;
    }
    let mut settings = parts.next()?.split(',');
    let mut setting = |name: &str| settings.next()?.strip_prefix(name)?.parse::<u32>().ok();
    let (memory_kib, time, lanes) = (setting("m=")?, setting("t=")?, setting("p=")?);
    let (salt, hash) = salt_and_hash(parts, |text| STANDARD_NO_PAD.decode(text).ok())?;
    let bounded = memory_kib <= ARGON2_MEMORY_KIB_MAX && time <= ARGON2_TIME_MAX;
    let fits = bounded && (16..=SHA512_BYTES).contains(&hash.len());
    // What cannot be computed is not taken.
    Params::new(memory_kib, time, lanes, Some(hash.len())).ok()?;
    fits.then_some(Hash::Argon2id { memory_kib, time, lanes, salt, hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by Debian's `mosquitto_passwd` 2.0.11, `-H sha512-pbkdf2` and `-H sha512`.
    const PBKDF2: &str = "$7$101$IfgZNbl+2vTzcW1y$jYhF3TorlJhpENeA59zoHwcl5D90l69jEpsofJrbhOProcWQl+kBmRZAjIOsEYY+NI1B1dd4wt11YybMTKPf+Q==";

    #[test]
    fn what_mosquitto_wrote_is_verified() {
        let hash = Hash::read(PBKDF2).unwrap();
        assert!(hash.verify(b"secret"));
        assert!(!hash.verify(b"Secret") && !hash.verify(b""));
        assert_eq!(hash.to_string(), PBKDF2);
    }

    #[test]
    fn every_method_reads_back_what_it_writes() {
        for method in [Method::Argon2id, Method::Sha512Pbkdf2, Method::Sha512] {
            let hash = Hash::new(method, NonZeroU32::new(3).unwrap(), b"p\xc3\xa4ss").unwrap();
            let read = Hash::read(&hash.to_string()).unwrap();
            assert_eq!(read, hash);
            assert!(read.verify(b"p\xc3\xa4ss") && !read.verify(b"pass"), "{method:?}");
        }
        let old = Hash::new(Method::Sha512Pbkdf2, ITERATIONS, b"x").unwrap();
        assert!(matches!(old, Hash::Pbkdf2 { salt, .. } if salt.len() == 12), "as 2.0 reads it");
    }

    #[test]
    fn a_64_byte_salt_is_read() {
        let (salt, password) = ([7; 64], b"secret");
        let hash = Hash::Sha512 { salt: salt.into(), hash: sha512(password, &salt) };
        assert!(Hash::read(&hash.to_string()).unwrap().verify(password));
    }

    #[test]
    fn what_is_no_hash_or_would_take_forever_is_refused() {
        for text in [
            "secret",
            "",
            "$",
            "$5$a$b",
            "$6$$",
            "$6$AAAA$AAAA",
            "$7$0$IfgZNbl+2vTzcW1y$jYhF",
            "$7$4000000000$IfgZNbl+2vTzcW1y$jYhF3TorlJhpENeA59zoHwcl5D90l69jEpsofJrbhOProcWQl+kBmRZAjIOsEYY+NI1B1dd4wt11YybMTKPf+Q==",
            "$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            "$argon2id$v=19$m=8,t=1,p=1000$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
        ] {
            assert!(Hash::read(text).is_err(), "{text}");
        }
    }
}
