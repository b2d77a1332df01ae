//! Budgets of clients and topics: who may hold how much together, and how near they are.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use plimsoll_engine::budgets::{BudgetOf, BudgetView};
use plimsoll_engine::{LoadCounts, Step};
use serde::Serialize;

use super::look::STEPS;
use super::routes::Context;

/// Users without a line of their own that are told: those that are nearest to their limit.
const USERS_MAX: usize = 20;

/// One budget.
#[derive(Debug, Serialize)]
pub(super) struct Budget {
    /// `listener`, `user` or `topic`.
    pub(super) kind: &'static str,
    /// Port or path, user name, or the levels that topics begin with; none for clients without a user name.
    pub(super) name: Option<String>,
    /// Number of the listener, in the order of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) number: Option<u16>,
    /// It has a line of its own; if not, it is that of `memory_budget_user *`.
    pub(super) named: bool,
    pub(super) used_bytes: usize,
    pub(super) limit_bytes: usize,
    /// The step in force; `clear` is that there is room.
    step: &'static str,
    #[serde(skip)]
    pub(super) at: Step,
    sessions: u32,
    /// What was done so that it holds.
    pub(super) actions: BTreeMap<&'static str, u64>,
}

impl Budget {
    fn of(view: BudgetView<'_>, place: impl Fn(u16) -> Option<String>) -> Self {
        let (kind, name, number) = match view.of {
            BudgetOf::Listener(number) => ("listener", place(*number), Some(*number)),
            BudgetOf::User(name) => ("user", name.as_deref().map(str::to_owned), None),
            BudgetOf::Topic(prefix) => ("topic", Some(prefix.to_string()), None),
        };
        Self {
            kind,
            name,
            number,
            named: view.named,
            used_bytes: view.used,
            limit_bytes: view.limit,
            step: view.step.name(),
            at: view.step,
            sessions: view.sessions,
            actions: view.counts.map(LoadCounts::named).into_iter().flatten().collect(),
        }
    }

    /// Its directive and how far it has come, in words.
    fn words(&self) -> String {
        let directive = match self.kind {
            "listener" => "listener_memory_budget of",
            "user" => "memory_budget_user",
            _ => "memory_budget_topic",
        };
        format!(
            "{directive} {}: {} is in force, {} KiB of {} KiB are used (docs/load-line.md)",
            self.name.as_deref().unwrap_or("\"\""),
            self.step,
            self.used_bytes / 1024,
            self.limit_bytes / 1024
        )
    }

    /// How much of it is used, in millionths.
    fn share(&self) -> u128 {
        self.used_bytes as u128 * 1_000_000 / self.limit_bytes.max(1) as u128
    }
}

/// All that have a line, and those users without one that are nearest to their limit.
#[derive(Debug, Default, Serialize)]
pub(super) struct Budgets {
    pub(super) budgets: Vec<Budget>,
    /// Users that `memory_budget_user *` holds for and that have sessions, by the step in force for them.
    pub(super) each_user: BTreeMap<&'static str, u64>,
}

impl Budgets {
    /// What somebody should look at: budgets that keep something from those they are for, from the step on at which the
    /// log speaks of them. Users without a line of their own are told together.
    pub(super) fn alarms(&self) -> impl Iterator<Item = String> {
        let full = self.budgets.iter().filter(|budget| budget.at >= Step::SlowPublishers);
        let (named, each): (Vec<_>, Vec<_>) = full.partition(|budget| budget.named);
        let others = each.first().map(|nearest| {
            let past = Step::ALL.into_iter().filter(|&step| step >= Step::SlowPublishers);
            let users: u64 = past.filter_map(|step| self.each_user.get(step.name())).sum();
            let nearest = nearest.words();
            format!("memory_budget_user *: {users} users are near it; the nearest is {nearest}")
        });
        named.into_iter().map(Budget::words).chain(others).collect::<Vec<_>>().into_iter()
    }
}

impl Context {
    /// Looks at every budget, a piece at a time.
    pub(super) async fn budgets(&self) -> Budgets {
        let settings = self.shared.admin.settings();
        let place = |number: u16| Some(settings.listeners.get(usize::from(number))?.place());
        let mut all = Budgets::default();
        let mut nearest: Vec<Budget> = Vec::new();
        self.leaf(0, |engine, from| {
            let next = engine.budgets(from, STEPS, |view| {
                if view.named {
                    all.budgets.push(Budget::of(view, place));
                    return ControlFlow::Continue(());
                }
                *all.each_user.entry(view.step.name()).or_default() += 1;
                // Most have nothing to say, and are not copied.
                let share = view.used as u128 * 1_000_000 / view.limit.max(1) as u128;
                let last = nearest.last().filter(|_| nearest.len() == USERS_MAX);
                if last.is_none_or(|last| share > last.share()) {
                    nearest.truncate(USERS_MAX - 1);
                    nearest.push(Budget::of(view, place));
                    nearest.sort_by_key(|budget| Reverse(budget.share()));
                }
                ControlFlow::Continue(())
            });
            (next, true)
        })
        .await;
        all.budgets.sort_by(|a, b| (a.kind, a.number, &a.name).cmp(&(b.kind, b.number, &b.name)));
        all.budgets.append(&mut nearest);
        all
    }
}
