//! The broker's stored state, for people, scripts and those who move in.

pub(crate) mod commands;
mod export;
mod import;
mod json;

pub(crate) use export::Export;
pub(crate) use import::{import, wants_import};
