use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use serde_json::json;

use super::*;

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "a secret of thirty-two bytes !!!";

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", encoded(header), encoded(claims));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn hs256(claims: &Value) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    token(&json!({"alg": "HS256", "typ": "JWT"}), claims, |bytes| {
        hmac::sign(&key, bytes).as_ref().to_vec()
    })
}

fn verifier() -> Verifier {
    let mut keys = Keys::default();
    keys.add_secret(SECRET).unwrap();
    Verifier {
        keys,
        leeway: 10,
        audience: None,
        issuer: None,
        user_claim: "sub".into(),
        endless: false,
    }
}

#[test]
fn a_good_token_names_its_user_and_its_end() {
    let token = hs256(&json!({"sub": "s1", "exp": NOW + 60}));
    assert!(looks_like_token(&token));
    let identity = verifier().verify(&token, NOW).unwrap();
    assert_eq!(identity, Identity { username: "s1".into(), expires_at: Some(NOW + 60) });
}

#[test]
fn times_count_with_leeway() {
    let verifier = verifier();
    let at = |claims: Value| verifier.verify(&hs256(&claims), NOW).map(|_| ());
    assert_eq!(at(json!({"sub": "a", "exp": NOW - 9})), Ok(()));
    assert_eq!(at(json!({"sub": "a", "exp": NOW - 10})), Err(Refusal::Expired));
    assert_eq!(at(json!({"sub": "a", "exp": NOW + 1, "nbf": NOW + 10})), Ok(()));
    assert_eq!(at(json!({"sub": "a", "exp": NOW + 1, "nbf": NOW + 11})), Err(Refusal::Early));
    assert_eq!(at(json!({"sub": "a", "exp": NOW + 1, "iat": NOW + 11})), Err(Refusal::Early));
    assert_eq!(at(json!({"sub": "a", "exp": "soon"})), Err(Refusal::Malformed));
    assert_eq!(at(json!({"sub": "a", "exp": -1})), Err(Refusal::Malformed));
    assert_eq!(at(json!({"sub": "a"})), Err(Refusal::Endless));
    assert_eq!(at(json!({"exp": NOW + 1})), Err(Refusal::User));
}

#[test]
fn audience_and_issuer_must_be_ours_where_they_are_set() {
    let verifier =
        Verifier { audience: Some("mqtt".into()), issuer: Some("us".into()), ..verifier() };
    let of = |aud: Value, iss: &str| {
        let claims = json!({"sub": "a", "exp": NOW + 1, "aud": aud, "iss": iss});
        verifier.verify(&hs256(&claims), NOW).map(|_| ())
    };
    assert_eq!(of(json!("mqtt"), "us"), Ok(()));
    assert_eq!(of(json!(["web", "mqtt"]), "us"), Ok(()));
    assert_eq!(of(json!(["web"]), "us"), Err(Refusal::Audience));
    assert_eq!(of(json!("mqtt"), "them"), Err(Refusal::Issuer));
}

#[test]
fn nobody_signs_with_none_or_with_a_public_key_as_a_secret() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public = pair.public_key().as_ref();
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwks = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k1",
        "x": number(&public[1..33]), "y": number(&public[33..])}]});
    let mut keys = Keys::default();
    keys.add_jwks_text(jwks.to_string().as_bytes()).unwrap();
    let verifier = Verifier { keys, ..verifier() };
    let claims = json!({"sub": "a", "exp": NOW + 1});
    let sign = |bytes: &[u8]| pair.sign(&SystemRandom::new(), bytes).unwrap().as_ref().to_vec();

    let good = token(&json!({"alg": "ES256", "kid": "k1"}), &claims, sign);
    assert!(verifier.verify(&good, NOW).is_ok());
    let other = token(&json!({"alg": "ES256", "kid": "k2"}), &claims, sign);
    assert_eq!(verifier.verify(&other, NOW), Err(Refusal::Key));
    for name in ["none", "None", "NONE", "nOnE", "", "HS256"] {
        let forged = token(&json!({ "alg": name }), &claims, |bytes| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, public);
            hmac::sign(&key, bytes).as_ref().to_vec()
        });
        assert_eq!(verifier.verify(&forged, NOW), Err(Refusal::Algorithm), "{name}");
    }
    let critical = token(&json!({"alg": "ES256", "crit": ["x"]}), &claims, sign);
    assert_eq!(verifier.verify(&critical, NOW), Err(Refusal::Critical));
}

#[test]
fn ed25519_keys_sign_too() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let mut keys = Keys::default();
    let jwks = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "use": "sig"}]});
    keys.add_jwks_text(jwks.to_string().as_bytes()).unwrap();
    let verifier = Verifier { keys, ..verifier() };
    let sign = |bytes: &[u8]| pair.sign(bytes).as_ref().to_vec();
    let token = token(&json!({"alg": "EdDSA"}), &json!({"sub": "a", "exp": NOW + 1}), sign);
    assert!(verifier.verify(&token, NOW).is_ok());
}

#[test]
fn every_changed_byte_is_noticed() {
    let verifier = verifier();
    let token = hs256(&json!({"sub": "s1", "exp": NOW + 60}));
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(changed == token || verifier.verify(&changed, NOW).is_err(), "{at}");
    }
    for odd in ["", ".", "..", "...", "a.b.c", "e30.e30.", "\u{e9}.\u{e9}.\u{e9}"] {
        assert!(verifier.verify(odd, NOW).is_err());
    }
}

#[test]
fn keys_that_cannot_be_are_refused_when_they_are_read() {
    let mut keys = Keys::default();
    assert!(keys.add_secret("short").is_err());
    assert!(keys.add_jwks_text(b"{\n\"keys\": 7}").unwrap_err().starts_with(":2:"));
    assert!(
        keys.add_jwks_text(br#"{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#).is_err()
    );
    assert!(keys.add_jwks_text(br#"{"keys":[]}"#).is_err());
    assert!(keys.is_empty());
}

proptest::proptest! {
    #[test]
    fn no_text_is_a_token_by_chance(text in ".{0,200}", parts in proptest::collection::vec("[A-Za-z0-9_-]{0,40}", 3)) {
        let verifier = verifier();
        proptest::prop_assert!(verifier.verify(&text, NOW).is_err());
        proptest::prop_assert!(verifier.verify(&parts.join("."), NOW).is_err());
        let signed = hs256(&json!({ "sub": text.clone(), "exp": text }));
        proptest::prop_assert!(verifier.verify(&signed, NOW).is_err());
    }
}
