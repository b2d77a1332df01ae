//! The reasoning about a residue in sentences.

use super::ResidueJudge;
use super::window::{WINDOWS, Window};
use crate::judge::Verdict;
use crate::reasons::{bytes, of_leak, span};

/// Why the verdict is what it is.
pub(super) fn reasons(judge: &ResidueJudge) -> Vec<String> {
    let age = judge.past.age();
    let mut said = vec![format!("{} of readings.", span(age))];
    let verdict = judge.verdict();
    match &verdict {
        Verdict::InsufficientData { minutes_more } => {
            said.push(format!("The shortest window needs {} more.", span(minutes_more * 60.0)));
        }
        Verdict::Leaking(leak) => said.extend(of_leak(leak, judge.past.last_t)),
        _ => {
            // The window whose growth is nearest to what would be an alarm.
            let nearest = (0..WINDOWS).filter_map(|index| {
                let window = Window::cut(&judge.past, index)?;
                let fall = judge.lessons.get(index)?.fall;
                let (need, _) = judge.settings.need(window.length, window.total, age, fall);
                Some((window.change(), need, window.length, fall))
            });
            let nearest = nearest.max_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
            if let Some((change, need, length, fall)) = nearest {
                said.push(format!(
                    "The residue's strongest growth is {} in {}, beside what the total explains; {} would be too \
                     much for that time, in which it fell by up to {} before.",
                    bytes(change.max(0.0)),
                    span(length),
                    bytes(need),
                    bytes(fall),
                ));
            }
        }
    }
    said.push(format!("Verdict: {}.", verdict.word()));
    said
}
