//! MQTT 3.1, 3.1.1 and 5.0: packets, codec, topic names and filters.
#![no_std]
extern crate alloc;
