//! Any sequence of operations on the engine: it never panics, and the ledger always agrees with a
//! walk over the state.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_engine::{Engine, Input, Link, Loss, Outbox, Piece, Settings, Time};
use plimsoll_ledger::Ledger;
use plimsoll_mqtt::{DecodeLimits, Decoded, Packet, Version, decode, decode_first};

/// Links that the operations are spread over.
const LINKS: u8 = 6;

/// One engine at a time charges it, and leaves it as it was.
static LEDGER: Ledger = Ledger::new();

fuzz_target!(|operations: Vec<(u8, u8, Vec<u8>)>| {
    let ledger = &LEDGER;
    let settings = Settings {
        max_inflight_messages: 3,
        max_queued_messages: 5,
        slow_consumer_timeout: 2,
        output_bytes_max: 4096,
        retained_scan_entries: 3,
        ..Settings::default()
    };
    let mut engine = Engine::new(settings, 1, 1, ledger);
    let mut versions: [Option<Version>; LINKS as usize] = [None; LINKS as usize];
    let mut now = Time::from_secs(1_000_000);
    let limits = DecodeLimits::of_clients();
    for (kind, which, bytes) in &operations {
        let slot = which % LINKS;
        let link = Link::new(0, u32::from(slot));
        let version = &mut versions[usize::from(slot)];
        let mut inputs = Vec::new();
        match kind % 8 {
            0 => now = now.plus_millis(u64::from(*which) * 500),
            1 if version.is_some() => {
                *version = None;
                inputs.push(Input::Lost { link, loss: Loss::Failed });
            }
            2 if version.is_some() => inputs.push(Input::Flushed { link, bytes: u32::from(*which) * 64 }),
            _ => {
                let mut used = 0;
                while used < bytes.len() {
                    let decoded = match *version {
                        None => decode_first(&bytes[used..], &limits),
                        Some(version) => decode(&bytes[used..], version, &limits),
                    };
                    match decoded {
                        Ok(Decoded::Packet { packet, length }) => {
                            used += length;
                            inputs.push(match packet {
                                Packet::Connect(packet) if version.is_none() => {
                                    *version = Some(packet.version);
                                    Input::Connect { link, listener: 0, packet }
                                }
                                packet => Input::Packet { link, packet },
                            });
                        }
                        Ok(Decoded::Incomplete { .. }) => break,
                        Err(error) => {
                            inputs.push(Input::Malformed { link, error });
                            break;
                        }
                    }
                }
            }
        }
        engine.handle(now, &inputs);
        assert_eq!(engine.recount(), ledger.snapshot());
        let mut outbox = Outbox::new(ledger);
        engine.take_outbox(0, &mut outbox);
        outbox.drain(|slot, piece| {
            if matches!(piece, Piece::Close) {
                versions[slot as usize] = None;
            }
        });
        drop(outbox);
        assert_eq!(engine.recount(), ledger.snapshot());
    }
    drop(engine);
    assert_eq!(ledger.total(), 0);
});
