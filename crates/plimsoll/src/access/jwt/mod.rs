//! JSON Web Tokens (RFC 7519) as identities: signed ones only, by keys that are configured.

mod keys;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

pub(crate) use keys::{Algorithm, Keys};

/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// What tokens have to be.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) keys: Keys,
    /// Seconds that clocks may differ.
    pub(crate) leeway: u64,
    /// `aud` must name this.
    pub(crate) audience: Option<String>,
    /// `iss` must be this.
    pub(crate) issuer: Option<String>,
    /// The claim that is the user name.
    pub(crate) user_claim: String,
    /// Tokens without an end are taken.
    pub(crate) endless: bool,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// User name.
    pub(crate) username: Box<str>,
    /// When the token ends, seconds since 1970, without leeway.
    pub(crate) expires_at: Option<u64>,
}

/// Why a token is no good. A client hears only that it is not authorized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not a token.
    Malformed,
    /// Its algorithm is not one that the keys are for (`none` is never).
    Algorithm,
    /// It names a key that there is not.
    Key,
    /// It was not signed by a key of ours.
    Signature,
    /// It has ended.
    Expired,
    /// It is not valid yet, or was made in the future.
    Early,
    /// It has no end (`exp`).
    Endless,
    /// It is for somebody else.
    Audience,
    /// It is from somebody else.
    Issuer,
    /// It names no user.
    User,
    /// It names a critical extension, of which there is none here.
    Critical,
}

#[derive(Deserialize)]
struct Header<'a> {
    alg: &'a str,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

impl Verifier {
    /// Checks a token at `now`, in seconds since 1970.
    pub(crate) fn verify(&self, token: &str, now: u64) -> Result<Identity, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Refusal::Malformed)?;
        let header = part(header)?;
        let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| Refusal::Malformed)?;
        let algorithm = Algorithm::of(header.alg).ok_or(Refusal::Algorithm)?;
        if header.crit.is_some() {
            return Err(Refusal::Critical); // RFC 7515, 4.1.11
        }
        let signature = part(signature)?;
        self.keys.verify(algorithm, header.kid.as_deref(), signed.as_bytes(), &signature)?;
        let claims: Map<String, Value> =
            serde_json::from_slice(&part(claims)?).map_err(|_| Refusal::Malformed)?;
        self.check(&claims, now)
    }

    fn check(&self, claims: &Map<String, Value>, now: u64) -> Result<Identity, Refusal> {
        let expires_at = time(claims, "exp")?;
        match expires_at {
            Some(at) if now >= at.saturating_add(self.leeway) => return Err(Refusal::Expired),
            None if !self.endless => return Err(Refusal::Endless),
            _ => {}
        }
        for name in ["nbf", "iat"] {
            if time(claims, name)?.is_some_and(|at| at > now.saturating_add(self.leeway)) {
                return Err(Refusal::Early);
            }
        }
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if let Some(issuer) = &self.issuer
            && text("iss") != Some(issuer)
        {
            return Err(Refusal::Issuer);
        }
        if let Some(audience) = &self.audience {
            let named = match claims.get("aud") {
                Some(Value::String(one)) => one == audience,
                Some(Value::Array(several)) => {
                    several.iter().any(|one| one.as_str() == Some(audience))
                }
                _ => false,
            };
            if !named {
                return Err(Refusal::Audience);
            }
        }
        let username = text(&self.user_claim).filter(|name| !name.is_empty());
        let username = username.ok_or(Refusal::User)?.into();
        Ok(Identity { username, expires_at })
    }
}

/// Whether something has the looks of a token: three parts of its alphabet.
pub(crate) fn looks_like_token(text: &str) -> bool {
    text.len() <= TOKEN_BYTES_MAX
        && text.split('.').count() == 3
        && text.split('.').all(|part| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

fn part(text: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Malformed)
}

/// A claim that is a time (RFC 7519, 2: a number, not necessarily a whole one).
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Refusal> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match (value.as_u64(), value.as_f64()) {
            (Some(seconds), _) => Ok(Some(seconds)),
            // Its fraction does not count.
            (None, Some(seconds)) => {
                format!("{:.0}", seconds.floor()).parse().map(Some).map_err(|_| Refusal::Malformed)
            }
            (None, None) => Err(Refusal::Malformed),
        },
    }
}
