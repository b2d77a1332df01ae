//! Seeded simulator of clients, clock and network, with an oracle.
