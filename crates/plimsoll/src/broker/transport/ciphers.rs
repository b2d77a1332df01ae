//! `ciphers` and `ciphers_tls1.3`: OpenSSL's names, and what rustls has of them.

use rustls::crypto::aws_lc_rs::cipher_suite as suite;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

/// Suites of TLS 1.2, by OpenSSL's names.
const TLS12: [(&str, SupportedCipherSuite); 6] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-AES256-GCM-SHA384", suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-AES128-GCM-SHA256", suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-CHACHA20-POLY1305", suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// Suites of TLS 1.3.
const TLS13: [(&str, SupportedCipherSuite); 3] = [
    ("TLS_AES_256_GCM_SHA384", suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", suite::TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", suite::TLS13_CHACHA20_POLY1305_SHA256),
];

static TLS13_ONLY: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// The suites that two lists leave, in their order; all of them where nothing is said.
pub(crate) fn suites(
    tls12: Option<&str>,
    tls13: Option<&str>,
) -> Result<Vec<SupportedCipherSuite>, String> {
    let mut chosen = choose("ciphers_tls1.3", tls13, &TLS13)?;
    chosen.extend(choose("ciphers", tls12, &TLS12)?);
    Ok(chosen)
}

fn choose(
    directive: &str,
    list: Option<&str>,
    known: &[(&str, SupportedCipherSuite)],
) -> Result<Vec<SupportedCipherSuite>, String> {
    let Some(list) = list else { return Ok(known.iter().map(|(_, suite)| *suite).collect()) };
    let mut chosen: Vec<(&str, SupportedCipherSuite)> = Vec::new();
    let mut banned: Vec<&str> = Vec::new();
    for word in list.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
        let (rule, word) = match word.split_at_checked(1) {
            Some((rule @ ("!" | "-" | "+"), word)) => (rule, word),
            _ => ("", word),
        };
        let meant: Vec<_> = known.iter().filter(|(name, _)| is_meant(word, name)).collect();
        match rule {
            "" => {
                let missing = |name: &str| chosen.iter().all(|(there, _)| *there != name);
                let new = meant.into_iter().filter(|(name, _)| missing(name));
                let new: Vec<_> = new.filter(|(name, _)| !banned.contains(name)).copied().collect();
                chosen.extend(new);
            }
            "+" => chosen.sort_by_key(|(name, _)| is_meant(word, name)),
            rule => {
                chosen.retain(|(name, _)| !is_meant(word, name));
                if rule == "!" {
                    banned.extend(meant.iter().map(|(name, _)| *name));
                }
            }
        }
    }
    if chosen.is_empty() {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "{directive}: none of `{list}` is there; there are {}",
            names.join(":")
        ));
    }
    Ok(chosen.into_iter().map(|(_, suite)| suite).collect())
}

/// Whether a word of a list (openssl-ciphers(1)) means a suite. Suites that are not there are meant by
/// words that are not known here.
fn is_meant(word: &str, suite: &str) -> bool {
    word.split('+').all(|part| match part {
        "ALL" | "DEFAULT" | "HIGH" | "SECURE" | "TLSv1.2" => true,
        "ECDHE" | "EECDH" | "kECDHE" | "kEECDH" => suite.starts_with("ECDHE-"),
        "ECDSA" | "aECDSA" => suite.contains("-ECDSA-"),
        "RSA" | "aRSA" => suite.contains("-RSA-"),
        "AES" | "AES128" | "AES256" | "CHACHA20" => suite.contains(part),
        "AESGCM" => suite.contains("-GCM-"),
        name => name == suite,
    })
}

/// Versions from `tls_version` on; both where nothing is said.
pub(crate) fn versions(
    lowest: Option<&str>,
) -> Result<&'static [&'static SupportedProtocolVersion], String> {
    match lowest {
        None | Some("tlsv1.2") => Ok(rustls::ALL_VERSIONS),
        Some("tlsv1.3") => Ok(TLS13_ONLY),
        Some(old @ ("tlsv1" | "tlsv1.0" | "tlsv1.1")) => Err(format!(
            "tls_version: {old} is broken and not supported: write tlsv1.2 (the default) or tlsv1.3"
        )),
        Some(other) => Err(format!("tls_version: `{other}` is not one of tlsv1.2, tlsv1.3")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_in_openssls_words_choose_in_their_order() {
        let names = |list| {
            let suites = choose("ciphers", Some(list), &TLS12).unwrap();
            suites.iter().map(|suite| format!("{:?}", suite.suite())).collect::<Vec<_>>()
        };
        assert_eq!(
            names("AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"),
            ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]
        );
        assert_eq!(names("HIGH:!aNULL:!MD5:ECDHE-RSA-AES128-GCM-SHA256@STRENGTH").len(), 6);
        assert_eq!(
            names("EECDH+AESGCM:!AES128:-ECDSA:ECDHE-RSA-AES128-GCM-SHA256"),
            ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]
        );
        assert_eq!(
            names("aECDSA:+AES256:-CHACHA20"),
            ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]
        );
        let error = choose("ciphers", Some("AES128-SHA"), &TLS12).unwrap_err();
        assert!(error.contains("there are ECDHE-ECDSA-AES256-GCM-SHA384:"), "{error}");
        assert_eq!(suites(None, None).unwrap().len(), 9);
    }

    #[test]
    fn what_is_broken_is_not_to_be_had() {
        assert!(versions(Some("tlsv1.1")).unwrap_err().contains("write tlsv1.2"));
        assert_eq!(versions(Some("tlsv1.3")).unwrap().len(), 1);
        assert_eq!(versions(None).unwrap().len(), 2);
    }
}
