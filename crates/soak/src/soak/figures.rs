//! What is said of the broker's memory from within, by the number of events at that moment.

use super::outcome::View;
use super::world::Events;

/// Figures of each view that are kept; every second one is dropped when there are more.
const FIGURES_MAX: usize = 4096;

/// Figures in the order of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures(Vec<(View, Vec<(Events, f64)>)>);

impl Figures {
    /// A figure, after `events`.
    pub(crate) fn note(&mut self, view: View, events: Events, bytes: f64) {
        let at = self.0.iter().position(|(other, _)| *other == view).unwrap_or_else(|| {
            self.0.push((view, Vec::new()));
            self.0.len() - 1
        });
        let Some((_, figures)) = self.0.get_mut(at) else { return };
        figures.push((events, bytes));
        if figures.len() > FIGURES_MAX {
            let mut index = 0;
            figures.retain(|_| {
                index += 1;
                index % 2 == 0
            });
        }
    }

    /// All of a view, in order.
    pub(crate) fn of(&self, view: View) -> &[(Events, f64)] {
        self.0.iter().find(|(other, _)| *other == view).map_or(&[], |(_, figures)| figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_kept_by_view_and_bounded() {
        let mut figures = Figures::default();
        for updates in 0..10_000 {
            figures.note(View::Account, Events { updates, ..Events::default() }, 5.0);
        }
        figures.note(View::Heap, Events::default(), 7.0);
        assert!((2000..=FIGURES_MAX).contains(&figures.of(View::Account).len()));
        assert_eq!(figures.of(View::Heap), [(Events::default(), 7.0)]);
        assert!(figures.of(View::Direct).is_empty());
    }
}
