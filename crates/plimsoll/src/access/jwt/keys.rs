//! Keys that tokens are signed with: a shared secret, a PEM file, or a JWKS file.

use std::fs;
use std::path::Path;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::Refusal;

/// Keys of a file at most.
const KEYS_MAX: usize = 64;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Shortest secret: a shorter one can be guessed from a token (RFC 7518, 3.2 asks for 32 bytes).
const SECRET_BYTES_MIN: usize = 8;

/// How a token is signed (RFC 7518, 3.1; RFC 8037). There is no `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    const ALL: [(&'static str, Self); 12] = [
        ("HS256", Self::Hs256),
        ("HS384", Self::Hs384),
        ("HS512", Self::Hs512),
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];

    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            _ => return None,
        })
    }

    fn hmac(self) -> Option<hmac::Algorithm> {
        Some(match self {
            Self::Hs256 => hmac::HMAC_SHA256,
            Self::Hs384 => hmac::HMAC_SHA384,
            Self::Hs512 => hmac::HMAC_SHA512,
            _ => return None,
        })
    }
}

/// A key. What it is decides which algorithms it is for, never the token.
#[derive(Debug)]
enum Material {
    Secret(Box<[u8]>),
    /// Modulus and exponent.
    Rsa {
        n: Box<[u8]>,
        e: Box<[u8]>,
    },
    /// The same in one structure (RFC 8017, A.1.1).
    RsaDer(Box<[u8]>),
    P256(Box<[u8]>),
    P384(Box<[u8]>),
    Ed25519(Box<[u8]>),
}

#[derive(Debug)]
struct Key {
    identifier: Option<String>,
    /// The only algorithm, if the key says one.
    only: Option<Algorithm>,
    material: Material,
}

/// The keys that tokens may be signed with.
#[derive(Debug, Default)]
pub(crate) struct Keys(Vec<Key>);

impl Keys {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a shared secret.
    pub(crate) fn add_secret(&mut self, secret: &str) -> Result<(), String> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "the secret has less than {SECRET_BYTES_MIN} bytes: use a random one of 32"
            ));
        }
        let material = Material::Secret(secret.as_bytes().into());
        self.0.push(Key { identifier: None, only: None, material });
        Ok(())
    }

    /// Adds the public keys of a PEM file.
    pub(crate) fn add_pem(&mut self, path: &Path) -> Result<(), String> {
        let name = path.display();
        let bytes = read(path)?;
        let before = self.0.len();
        for found in SubjectPublicKeyInfoDer::pem_slice_iter(&bytes).take(KEYS_MAX) {
            let der = found.map_err(|error| format!("{name}: {error}"))?;
            let material =
                Material::of_spki(der.as_ref()).map_err(|error| format!("{name}: {error}"))?;
            self.0.push(Key { identifier: None, only: None, material });
        }
        if self.0.len() == before {
            return Err(format!(
                "{name}: there is no `BEGIN PUBLIC KEY` in it; `openssl pkey -pubin -in KEY` or `openssl x509 -pubkey -noout -in CERTIFICATE` prints one"
            ));
        }
        Ok(())
    }

    /// Adds the keys of a JWKS file (RFC 7517). Keys of kinds that are not for signing here are
    /// passed over.
    pub(crate) fn add_jwks(&mut self, path: &Path) -> Result<(), String> {
        let name = path.display();
        self.add_jwks_text(&read(path)?).map_err(|error| format!("{name}{error}"))
    }

    pub(crate) fn add_jwks_text(&mut self, text: &[u8]) -> Result<(), String> {
        let set: Jwks = serde_json::from_slice(text)
            .map_err(|error| format!(":{}: this is not a JWKS: {error}", error.line()))?;
        let before = self.0.len();
        for (number, key) in set.keys.into_iter().take(KEYS_MAX).enumerate() {
            if key.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
                continue;
            }
            let only = match key.alg.as_deref().map(Algorithm::of) {
                Some(None) => continue,
                Some(known) => known,
                None => None,
            };
            let identifier = key.kid.clone();
            match key.material() {
                Some(material) => self.0.push(Key { identifier, only, material }),
                None => return Err(format!(": key {} of the set is not whole", number + 1)),
            }
        }
        if self.0.len() == before {
            return Err(": there is no key for signatures in it".into());
        }
        Ok(())
    }

    /// Whether one of the keys made this signature.
    pub(super) fn verify(
        &self,
        algorithm: Algorithm,
        identifier: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Refusal> {
        let fits = |key: &&Key| {
            key.only.is_none_or(|only| only == algorithm) && key.material.is_for(algorithm)
        };
        if !self.0.iter().any(|key| fits(&key)) {
            return Err(Refusal::Algorithm);
        }
        // A key without identifier is tried for every token, one with it for those that name it.
        let named = |key: &&Key| match (&key.identifier, identifier) {
            (Some(own), Some(wanted)) => own == wanted,
            _ => true,
        };
        let mut candidates = self.0.iter().filter(fits).filter(named).peekable();
        if candidates.peek().is_none() {
            return Err(Refusal::Key);
        }
        match candidates.any(|key| key.material.verifies(algorithm, message, signature)) {
            true => Ok(()),
            false => Err(Refusal::Signature),
        }
    }

    /// What it holds on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let keys = self.0.iter().map(|key| {
            let bytes = match &key.material {
                Material::Rsa { n, e } => n.len() + e.len(),
                Material::Secret(bytes)
                | Material::RsaDer(bytes)
                | Material::P256(bytes)
                | Material::P384(bytes)
                | Material::Ed25519(bytes) => bytes.len(),
            };
            bytes + key.identifier.as_ref().map_or(0, String::len)
        });
        self.0.capacity() * size_of::<Key>() + keys.sum::<usize>()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = fs::metadata(path).and_then(|metadata| {
        if metadata.len() > FILE_BYTES_MAX {
            return Err(std::io::Error::other("it is larger than 1 MiB"));
        }
        fs::read(path)
    });
    bytes.map_err(|error| format!("{}: {error}", path.display()))
}

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

impl Material {
    fn of_spki(der: &[u8]) -> Result<Self, String> {
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|error| error.to_string())?;
        let bits = info.subject_public_key.as_bytes().ok_or("the key is not whole bytes")?;
        let curve = || info.algorithm.parameters_oid().ok();
        match info.algorithm.oid {
            RSA => Ok(Self::RsaDer(bits.into())),
            EC if curve() == Some(P256) => Ok(Self::P256(bits.into())),
            EC if curve() == Some(P384) => Ok(Self::P384(bits.into())),
            ED25519 => Ok(Self::Ed25519(bits.into())),
            _ => {
                Err("this kind of key is not for tokens: RSA, P-256, P-384 and Ed25519 are".into())
            }
        }
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Secret(_) => algorithm.hmac().is_some(),
            Self::Rsa { .. } | Self::RsaDer(_) => algorithm.rsa().is_some(),
            Self::P256(_) => algorithm == Algorithm::Es256,
            Self::P384(_) => algorithm == Algorithm::Es384,
            Self::Ed25519(_) => algorithm == Algorithm::EdDsa,
        }
    }

    fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let public = |verification: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(verification, key).verify(message, signature).is_ok()
        };
        match self {
            Self::Secret(secret) => algorithm.hmac().is_some_and(|algorithm| {
                let key = hmac::Key::new(algorithm, secret);
                hmac::verify(&key, message, signature).is_ok()
            }),
            Self::Rsa { n, e } => algorithm.rsa().is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(parameters, message, signature).is_ok()
            }),
            Self::RsaDer(key) => algorithm.rsa().is_some_and(|parameters| public(parameters, key)),
            Self::P256(point) => public(&signature::ECDSA_P256_SHA256_FIXED, point),
            Self::P384(point) => public(&signature::ECDSA_P384_SHA384_FIXED, point),
            Self::Ed25519(key) => public(&signature::ED25519, key),
        }
    }
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    k: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl Jwk {
    fn material(self) -> Option<Material> {
        match (&*self.kty, self.crv.as_deref()) {
            ("oct", _) => {
                let secret = number(self.k.as_deref())?;
                (secret.len() >= SECRET_BYTES_MIN).then(|| Material::Secret(secret.into()))
            }
            ("RSA", _) => Some(Material::Rsa {
                n: number(self.n.as_deref())?.into(),
                e: number(self.e.as_deref())?.into(),
            }),
            ("EC", Some("P-256")) => Some(Material::P256(self.point(32)?)),
            ("EC", Some("P-384")) => Some(Material::P384(self.point(48)?)),
            ("OKP", Some("Ed25519")) => {
                let key = number(self.x.as_deref())?;
                (key.len() == 32).then(|| Material::Ed25519(key.into()))
            }
            _ => None,
        }
    }

    /// An uncompressed point (SEC 1, 2.3.3).
    fn point(&self, bytes: usize) -> Option<Box<[u8]>> {
        let (x, y) = (number(self.x.as_deref())?, number(self.y.as_deref())?);
        let whole = x.len() == bytes && y.len() == bytes;
        whole.then(|| [&[4][..], &x, &y].concat().into())
    }
}

fn number(text: Option<&str>) -> Option<Vec<u8>> {
    let text = text?;
    URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD.decode(text)).ok()
}
