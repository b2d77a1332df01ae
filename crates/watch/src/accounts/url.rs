//! Addresses of sources.

/// The parts of an address; `[…]` of IPv6 is taken off.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url<'a> {
    pub(super) scheme: &'a str,
    userinfo: Option<&'a str>,
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
    /// From the first `/` on; empty if there is none.
    pub(super) path: &'a str,
}

impl<'a> Url<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        let wrong = |what: &str| {
            let shown = super::source::without_secrets(text);
            format!("`{shown}`: {what}; an address is such as mqtt://127.0.0.1:1883")
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (userinfo, host) = match authority.rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo), host),
            None => (None, authority),
        };
        let (host, port) = match host.strip_prefix('[') {
            Some(literal) => {
                let (host, behind) = literal.split_once(']').ok_or_else(|| wrong("has no `]`"))?;
                (host, behind.strip_prefix(':'))
            }
            None => match host.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (host, None),
            },
        };
        if host.is_empty() {
            return Err(wrong("has no host"));
        }
        let port = match port {
            Some(port) => Some(port.parse().map_err(|_| wrong("its port is not a number"))?),
            None => None,
        };
        Ok(Self { scheme, userinfo, host, port, path })
    }

    /// The user in it.
    pub(super) fn user(&self) -> Option<String> {
        self.userinfo.map(|info| info.split(':').next().unwrap_or_default().to_owned())
    }

    /// The password in it.
    pub(super) fn password(&self) -> Option<String> {
        self.userinfo?.split_once(':').map(|(_, password)| password.to_owned())
    }

    /// The address without the user.
    pub(super) fn bare(&self) -> String {
        let host = self.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self.port {
            Some(port) => format!("{}://{host}:{port}{}", self.scheme, self.path),
            None => format!("{}://{host}{}", self.scheme, self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_parts() {
        let url = Url::parse("mqtts://ops:a:b@broker.plant.example:8884").unwrap();
        assert_eq!((url.scheme, url.host, url.port), ("mqtts", "broker.plant.example", Some(8884)));
        assert_eq!((url.user().as_deref(), url.password().as_deref()), (Some("ops"), Some("a:b")));
        let url = Url::parse("http://[::1]:8080/actuator/prometheus").unwrap();
        assert_eq!((url.host, url.path, url.user()), ("::1", "/actuator/prometheus", None));
        assert_eq!(url.bare(), "http://[::1]:8080/actuator/prometheus");
        for wrong in ["localhost:1883", "mqtt://", "mqtt://host:port", "mqtt://[::1"] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
        let shown = Url::parse("mqtt://ops:hush@host:x").unwrap_err();
        assert!(!shown.contains("hush"), "{shown}");
    }
}
