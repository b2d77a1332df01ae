//! The figures that accounts can give, by name.

use plimsoll_judgement::outside::Sample;

/// A figure of [`Sample`] that the process or its surroundings say of it, in bytes or as a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Figure {
    /// Bytes that the process says it holds.
    Account,
    /// Managed heap in use.
    HeapUsed,
    /// Managed heap that was asked of the system.
    HeapCommitted,
    /// Counted memory beside the managed heap.
    Direct,
    /// Retained messages.
    Retained,
    /// Connected clients.
    Connections,
    /// Sessions, connected or not.
    Sessions,
    /// Subscriptions.
    Subscriptions,
    /// Messages in queues.
    Queued,
    /// PUBLISH packets received since the process began.
    PublishedTotal,
    /// Connections accepted since the process began.
    ConnectedTotal,
    /// What the resident set must not reach.
    Limit,
    /// What the managed heap must not reach.
    HeapLimit,
    /// What the memory beside the managed heap must not reach.
    DirectLimit,
}

impl Figure {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Account,
        Self::HeapUsed,
        Self::HeapCommitted,
        Self::Direct,
        Self::Retained,
        Self::Connections,
        Self::Sessions,
        Self::Subscriptions,
        Self::Queued,
        Self::PublishedTotal,
        Self::ConnectedTotal,
        Self::Limit,
        Self::HeapLimit,
        Self::DirectLimit,
    ];

    /// Its name in configuration, metrics and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::HeapUsed => "heap_used",
            Self::HeapCommitted => "heap_committed",
            Self::Direct => "direct",
            Self::Retained => "retained",
            Self::Connections => "connections",
            Self::Sessions => "sessions",
            Self::Subscriptions => "subscriptions",
            Self::Queued => "queued",
            Self::PublishedTotal => "published_total",
            Self::ConnectedTotal => "connected_total",
            Self::Limit => "limit",
            Self::HeapLimit => "heap_limit",
            Self::DirectLimit => "direct_limit",
        }
    }

    /// The figure of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|figure| figure.name() == name)
    }

    /// Whether it is a size in bytes; the others are counts.
    pub fn is_bytes(self) -> bool {
        matches!(
            self,
            Self::Account
                | Self::HeapUsed
                | Self::HeapCommitted
                | Self::Direct
                | Self::Limit
                | Self::HeapLimit
                | Self::DirectLimit
        )
    }

    /// Whether it is what another figure must not reach.
    pub fn is_limit(self) -> bool {
        matches!(self, Self::Limit | Self::HeapLimit | Self::DirectLimit)
    }

    /// Whether it only grows while the process lives.
    pub fn is_counter(self) -> bool {
        matches!(self, Self::PublishedTotal | Self::ConnectedTotal)
    }

    /// Its value in a sample.
    pub fn of(self, sample: &Sample) -> Option<f64> {
        let mut sample = *sample;
        *self.place(&mut sample)
    }

    /// Its place in a sample.
    pub fn place(self, sample: &mut Sample) -> &mut Option<f64> {
        match self {
            Self::Account => &mut sample.account,
            Self::HeapUsed => &mut sample.heap_used,
            Self::HeapCommitted => &mut sample.heap_committed,
            Self::Direct => &mut sample.direct,
            Self::Retained => &mut sample.retained,
            Self::Connections => &mut sample.connections,
            Self::Sessions => &mut sample.sessions,
            Self::Subscriptions => &mut sample.subscriptions,
            Self::Queued => &mut sample.queued,
            Self::PublishedTotal => &mut sample.published_total,
            Self::ConnectedTotal => &mut sample.connected_total,
            Self::Limit => &mut sample.limit,
            Self::HeapLimit => &mut sample.heap_limit,
            Self::DirectLimit => &mut sample.direct_limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_a_name_and_a_place_of_its_own() {
        let mut sample = Sample::default();
        for (number, figure) in Figure::ALL.into_iter().enumerate() {
            assert_eq!(figure as usize, number);
            assert_eq!(Figure::from_name(figure.name()), Some(figure));
            *figure.place(&mut sample) = Some(number as f64);
        }
        for (number, figure) in Figure::ALL.into_iter().enumerate() {
            assert_eq!(figure.of(&sample), Some(number as f64), "{}", figure.name());
        }
        assert_eq!(Figure::from_name("rss"), None);
    }
}
