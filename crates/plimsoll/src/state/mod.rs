//! The broker's stored state, for people and scripts.

mod export;
mod json;

#[cfg_attr(
    not(test),
    expect(unused_imports, reason = "used by the export command, which comes with the store")
)]
pub(crate) use export::Export;
