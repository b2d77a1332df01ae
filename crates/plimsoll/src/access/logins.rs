//! Logins of plugins at the gate.

use std::sync::Arc;

use plimsoll_mqtt::ReasonCode;

use super::dynsec::{Dynsec, Identified};
use super::go_auth::{GoAuth, Login, LoginAnswer};
use super::verifier::Verifier;
use crate::broker::gate::{Authenticator, Reply};

/// Dynamic security at the gate.
#[derive(Debug)]
pub(crate) struct DynsecLogins {
    dynsec: Arc<Dynsec>,
    verifier: Arc<Verifier>,
}

/// go-auth at the gate.
#[derive(Debug)]
pub(crate) struct GoAuthLogins(pub(crate) Arc<GoAuth>);

impl DynsecLogins {
    pub(crate) fn new(dynsec: Arc<Dynsec>, verifier: Arc<Verifier>) -> Self {
        Self { dynsec, verifier }
    }
}

impl Authenticator for DynsecLogins {
    fn authenticate(&self, reply: Reply) {
        let credentials = Arc::clone(&reply.credentials);
        let (Some(username), Some(_)) = (&credentials.username, &credentials.password) else {
            return reply.defer();
        };
        let identifier = &credentials.client_identifier;
        // A copy of the hash, so that nobody who changes the model waits for it.
        let known = match self.dynsec.model().identify(username, identifier) {
            Identified::Known(password) => Some(password.clone()),
            Identified::Refused => return reply.refuse(ReasonCode::NOT_AUTHORIZED),
            Identified::Unknown => None,
        };
        let Some(known) = known else { return reply.defer() };
        self.verifier.run(0, reply, move |reply| {
            let given = credentials.password.as_deref().unwrap_or_default();
            match known.verify(given) {
                true => reply.accept(),
                false => reply.refuse(ReasonCode::NOT_AUTHORIZED),
            }
        });
    }
}

impl Authenticator for GoAuthLogins {
    fn authenticate(&self, reply: Reply) {
        let credentials = Arc::clone(&reply.credentials);
        let password = credentials.password.as_deref().unwrap_or_default();
        let username = credentials.username.as_deref().unwrap_or_default();
        let Ok(password) = str::from_utf8(password) else { return reply.defer() };
        let client_identifier = &credentials.client_identifier;
        let login = Login { client_identifier, username, password };
        let ends = self.0.ends_with_token();
        let given: Box<str> = username.into();
        self.0.login(
            &login,
            Box::new(move |answer| match answer {
                LoginAnswer::Granted(account) => {
                    let username = account.username.unwrap_or(given);
                    reply.accept_until(Some(username), account.expires_at.filter(|_| ends));
                }
                LoginAnswer::Refused => reply.defer(),
                LoginAnswer::Unavailable => reply.refuse(ReasonCode::SERVER_UNAVAILABLE),
            }),
        );
    }
}
