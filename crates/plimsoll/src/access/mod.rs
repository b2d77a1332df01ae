//! Who may connect, and who may do what: passwords and rules, as Mosquitto's files have them.

pub(crate) mod acl_file;
pub(crate) mod hash;
pub(crate) mod loaded;
pub(crate) mod passwd;
pub(crate) mod password_file;
pub(crate) mod rules;
pub(crate) mod verifier;
