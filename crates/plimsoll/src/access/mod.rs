//! Who may connect, and who may do what: passwords and rules, as Mosquitto's files and the common
//! plugins have them.

pub(crate) mod acl_file;
pub(crate) mod dynsec;
pub(crate) mod go_auth;
pub(crate) mod hash;
pub(crate) mod jwt;
pub(crate) mod loaded;
pub(crate) mod logins;
pub(crate) mod options;
pub(crate) mod passwd;
pub(crate) mod password_file;
pub(crate) mod plugins;
pub(crate) mod rules;
pub(crate) mod verifier;
