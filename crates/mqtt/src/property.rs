//! Properties of MQTT 5.0 (2.2.2): a checked slice with typed access.

mod access;
mod build;
mod check;
mod identifier;
mod value;

use core::fmt;

pub use build::PropertiesBuf;
pub use identifier::PropertyIdentifier;
pub(crate) use identifier::{Place, Sender};
pub use value::PropertyValue;

use crate::cursor::Cursor;

/// The properties of a packet: a slice that was checked when the packet was decoded. Empty in 3.x.
///
/// Every access walks the slice; nothing is allocated.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    raw: &'a [u8],
}

impl<'a> Properties<'a> {
    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The encoded properties, without their length.
    #[inline]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Every property, in order.
    pub fn iter(&self) -> impl Iterator<Item = (PropertyIdentifier, PropertyValue<'a>)> + use<'a> {
        let mut rest = Cursor::new(self.raw);
        core::iter::from_fn(move || {
            let identifier = PropertyIdentifier::decode(&mut rest).ok()?;
            let value = PropertyValue::decode(identifier, &mut rest).ok()?;
            Some((identifier, value))
        })
    }

    /// The first property of a kind. The values before it are passed over, not read.
    fn find(&self, wanted: PropertyIdentifier) -> Option<PropertyValue<'a>> {
        let mut rest = Cursor::new(self.raw);
        while !rest.is_empty() {
            let identifier = PropertyIdentifier::decode(&mut rest).ok()?;
            if identifier == wanted {
                return PropertyValue::decode(identifier, &mut rest).ok();
            }
            PropertyValue::skip(identifier, &mut rest).ok()?;
        }
        None
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
