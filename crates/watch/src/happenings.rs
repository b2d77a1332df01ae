//! What has happened between two looks at a target.

use crate::accounts::SourceState;
use crate::event::Happening;
use crate::procfs::Identity;
use crate::reading::Reading;

/// Compares a look with the one before; `known` is the last process that was ever seen of the target, and `found` what
/// it was found by now.
pub(crate) fn happenings(
    last: Option<&Reading>,
    known: Option<Identity>,
    reading: &Reading,
    found: Option<&str>,
) -> Vec<Happening> {
    let mut happened = Vec::new();
    let identity = |reading: &Reading| reading.process.as_ref().map(|process| process.identity);
    match (last.and_then(identity), identity(reading)) {
        (before, Some(now)) if before != Some(now) => happened.push(match known {
            Some(known) if known != now => Happening::Restarted { before: known, identity: now },
            _ => Happening::Appeared {
                identity: now,
                found: found.unwrap_or("a process").to_owned(),
            },
        }),
        // It is said once: when it goes, or when `watch` begins and it is not there.
        (before, None) if before.is_some() || last.is_none() => {
            let why = reading.absent.clone().unwrap_or_else(|| "it has ended".to_owned());
            happened.push(Happening::Vanished { why });
        }
        _ => {}
    }
    if reading.oom_killed > 0 {
        happened.push(Happening::OomKilled { count: reading.oom_killed });
    }
    for (number, state) in reading.accounts.sources.iter().enumerate() {
        let before = last.and_then(|last| last.accounts.sources.get(number));
        happened.extend(source(before, state));
    }
    happened
}

fn source(before: Option<&SourceState>, now: &SourceState) -> Option<Happening> {
    let lost = |state: &SourceState| !state.up && state.error.is_some();
    let address = now.address.clone();
    if now.up && !before.is_some_and(|before| before.up) {
        return Some(Happening::SourceFound { address });
    }
    // Each reason once: not each failure.
    let error = now.error.clone().filter(|_| lost(now))?;
    let is_same = |before: &SourceState| before.error.as_deref().map(kind) == Some(kind(&error));
    let said = before.is_some_and(|before| lost(before) && is_same(before));
    (!said).then_some(Happening::SourceLost { address, error })
}

/// What kind of error it is: without long numbers and the body of an answer, which may be others each time.
fn kind(error: &str) -> Vec<&str> {
    let head = error.split(['{', '<']).next().unwrap_or_default();
    let words = head.split(|character: char| !character.is_alphanumeric());
    // A status has three digits.
    words.filter(|word| word.len() <= 3 || !word.bytes().all(|b| b.is_ascii_digit())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::accounts::Accounts;
    use crate::procfs::ProcessReading;

    fn look(pid: Option<u32>, killed: u64, source: Option<Result<(), &str>>) -> Reading {
        let identity = |pid| Identity { pid, start_ticks: u64::from(pid) };
        let sources = source.map(|state| SourceState {
            address: "mqtt://broker".into(),
            up: state.is_ok(),
            failures: 0,
            error: state.err().filter(|error| !error.is_empty()).map(Into::into),
        });
        let mut accounts = Accounts::default();
        accounts.sources.extend(sources);
        Reading {
            time: SystemTime::now(),
            t: 0.0,
            process: pid
                .map(|pid| ProcessReading { identity: identity(pid), ..ProcessReading::default() }),
            cgroup: None,
            oom_killed: killed,
            pressure: None,
            accounts,
            sample: None,
            absent: pid.is_none().then(|| "there is none".into()),
        }
    }

    fn names(last: Option<&Reading>, known: Option<u32>, reading: &Reading) -> Vec<String> {
        let known = known.map(|pid| Identity { pid, start_ticks: u64::from(pid) });
        let happened = happenings(last, known, reading, Some("process 7"));
        happened.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn comings_and_goings_are_said_once() {
        let (there, gone) = (look(Some(7), 0, None), look(None, 0, None));
        assert_eq!(names(None, None, &there), ["is there: process 7"]);
        assert_eq!(names(Some(&there), Some(7), &there), [""; 0]);
        assert_eq!(names(None, None, &gone), ["is not there: there is none"]);
        assert_eq!(names(Some(&there), Some(7), &gone), ["is not there: there is none"]);
        assert_eq!(names(Some(&gone), Some(7), &gone), [""; 0]);
        // It is the same as before `watch` was restarted, or another.
        assert_eq!(names(None, Some(7), &there), ["is there: process 7"]);
        let other = "was restarted: process 8 instead of 7";
        assert_eq!(names(Some(&there), Some(7), &look(Some(8), 0, None)), [other]);
        assert_eq!(names(Some(&gone), Some(7), &look(Some(8), 0, None)), [other]);
    }

    #[test]
    fn kills_are_said_also_of_the_target_itself() {
        let (none, two) = (look(Some(7), 0, None), look(Some(7), 2, None));
        let said = "the kernel has killed 2 of its processes for want of memory";
        assert_eq!(names(Some(&none), Some(7), &two), [said]);
        assert_eq!(names(Some(&two), Some(7), &none), [""; 0]);
        let killed = names(Some(&none), Some(7), &look(None, 1, None));
        assert_eq!(killed.len(), 2, "the target itself: {killed:?}");
        assert!(killed[1].starts_with("the kernel has killed 1"), "{killed:?}");
    }

    #[test]
    fn each_reason_for_silence_is_said_once() {
        let at = |source| look(Some(7), 0, Some(source));
        let (early, up, down) = (at(Err("")), at(Ok(())), at(Err("refused")));
        let seven = Some(7);
        assert_eq!(names(Some(&early), seven, &early), [""; 0]);
        assert_eq!(names(Some(&early), seven, &up), ["mqtt://broker answers"]);
        let lost = "mqtt://broker does not answer: refused";
        assert_eq!(names(Some(&early), seven, &down), [lost]);
        assert_eq!(names(Some(&up), seven, &down), [lost]);
        assert_eq!(names(Some(&down), seven, &down), [""; 0]);
        assert_eq!(names(Some(&down), seven, &at(Err("timeout"))).len(), 1);
        assert_eq!(names(Some(&down), seven, &up), ["mqtt://broker answers"]);
        let large = "response header is too big: 95901 > 65536";
        for (one, other, said) in [
            ("404: {\"at\":\"10:00:07\"}", "404: {\"at\":\"10:00:17\"}", 0),
            (large, "response header is too big: 70112 > 65536", 0),
            ("404: {\"at\":\"10:00:07\"}", "503: {\"at\":\"10:00:17\"}", 1),
        ] {
            assert_eq!(names(Some(&at(Err(one))), seven, &at(Err(other))).len(), said, "{other}");
        }
    }
}
