//! The budgets that there are, what counts to each, and how far each has come.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashTable;
use plimsoll_ledger::{Account, Boxed, Charged, Ledger, Measure, usable_size};

use super::{BudgetOf, BudgetRules};
use crate::hash::Seeded;
use crate::load::{LoadCounts, Step};
use crate::session::Session;
use crate::time::Time;

/// The part of a budget that may be unsent for one connection while it is short.
const OUTPUT_PART: usize = 16;

/// So much may be unsent in any case.
const OUTPUT_BYTES_MIN: usize = 1024;

/// No budget.
const NONE: u32 = u32::MAX;

/// What a session counts to, and with how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    listener: u32,
    user: u32,
    /// Bytes of its block and its names, which stay as they are until it joins anew.
    fixed: u32,
    bytes: usize,
}

impl Counted {
    /// A session that counts to no budget.
    pub(crate) const NOWHERE: Self = Self { listener: NONE, user: NONE, fixed: 0, bytes: 0 };

    /// Bytes of the session's block and its names.
    pub(super) fn fixed_bytes(self) -> usize {
        self.fixed as usize
    }

    fn is_nowhere(self) -> bool {
        self.listener == NONE && self.user == NONE
    }

    fn budgets(self) -> [u32; 2] {
        [self.listener, self.user]
    }
}

/// One budget.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) of: BudgetOf,
    pub(super) limit: usize,
    pub(super) used: usize,
    pub(super) step: Step,
    /// Sessions that count to it.
    pub(super) sessions: u32,
    /// A line of the configuration names it, so it is there without sessions too.
    pub(super) lasting: bool,
    /// What it has done, from the first time on.
    pub(super) counts: Option<Boxed<LoadCounts>>,
}

impl Budget {
    fn heap_bytes(&self) -> usize {
        match &self.of {
            BudgetOf::User(Some(name)) => name.heap_bytes(),
            _ => 0,
        }
    }
}

/// A step that a budget has come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Risen {
    pub(super) budget: u32,
    pub(super) step: Step,
}

/// All budgets of listeners and users.
#[derive(Debug)]
pub(crate) struct Budgets {
    rules: BudgetRules,
    /// Limits by listener.
    listener_limits: Vec<Option<usize>>,
    table: Charged<Table>,
    /// Whether there are any, or may be.
    on: bool,
    /// Steps begun that have not been said yet.
    pub(super) risen: Vec<Risen>,
    /// When budgets with a step in force are looked at next.
    pub(crate) tend_at: Time,
    seeded: Seeded,
    ledger: &'static Ledger,
}

#[derive(Debug, Default)]
struct Table {
    budgets: Vec<Option<Budget>>,
    free: Vec<u32>,
    /// Those of users by name; a client without one goes by the empty name.
    users: HashTable<u32>,
    /// Those of listeners by number.
    listeners: Vec<u32>,
    /// Those with a step in force.
    raised: Vec<u32>,
    names_bytes: usize,
}

impl Measure for Table {
    fn heap_bytes(&self) -> usize {
        self.blocks_bytes() + self.names_bytes
    }
}

impl AsMut<[Option<Budget>]> for Table {
    fn as_mut(&mut self) -> &mut [Option<Budget>] {
        &mut self.budgets
    }
}

impl Table {
    fn blocks_bytes(&self) -> usize {
        self.budgets.heap_bytes()
            + self.free.heap_bytes()
            + usable_size(self.users.allocation_size(), 16)
            + self.listeners.heap_bytes()
            + self.raised.heap_bytes()
    }

    fn get(&self, budget: u32) -> Option<&Budget> {
        self.budgets.get(budget as usize)?.as_ref()
    }

    fn user(&self, seeded: &Seeded, username: Option<&str>) -> Option<u32> {
        let fits = |&budget: &u32| {
            let of = self.get(budget).map(|budget| &budget.of);
            matches!(of, Some(BudgetOf::User(name)) if name.as_deref() == username)
        };
        self.users.find(seeded.hash(username.unwrap_or_default()), fits).copied()
    }

    fn add(&mut self, seeded: &Seeded, budget: Budget) -> u32 {
        self.names_bytes += budget.heap_bytes();
        let number = self.free.pop().unwrap_or(self.budgets.len() as u32);
        let name = match &budget.of {
            BudgetOf::User(name) => Some(seeded.hash(name.as_deref().unwrap_or_default())),
            BudgetOf::Listener(_) | BudgetOf::Topic(_) => None,
        };
        match self.budgets.get_mut(number as usize) {
            Some(place) => *place = Some(budget),
            None => self.budgets.push(Some(budget)),
        }
        if let Some(hash) = name {
            let budgets = &self.budgets;
            self.users.insert_unique(hash, number, |&other| {
                match budgets.get(other as usize).and_then(Option::as_ref).map(|b| &b.of) {
                    Some(BudgetOf::User(Some(name))) => seeded.hash(name),
                    _ => seeded.hash(""),
                }
            });
        }
        number
    }

    fn remove(&mut self, seeded: &Seeded, number: u32) {
        if let Some(BudgetOf::User(name)) = self.get(number).map(|budget| &budget.of) {
            let hash = seeded.hash(name.as_deref().unwrap_or_default());
            if let Ok(entry) = self.users.find_entry(hash, |&other| other == number) {
                entry.remove();
            }
        }
        let Some(budget) = self.budgets.get_mut(number as usize).and_then(Option::take) else {
            return;
        };
        self.names_bytes -= budget.heap_bytes();
        if budget.step > Step::Clear {
            self.raised.retain(|&other| other != number);
        }
        self.free.push(number);
        self.give_back();
    }

    /// Returns memory that the table has outgrown.
    fn give_back(&mut self) {
        if self.free.len() == self.budgets.len() {
            (self.budgets, self.free, self.users) = Default::default();
        }
        if self.raised.is_empty() {
            self.raised = Vec::new();
        }
    }
}

impl Budgets {
    pub(crate) fn new(ledger: &'static Ledger, seeded: Seeded) -> Self {
        Self {
            rules: BudgetRules::default(),
            listener_limits: Vec::new(),
            table: ledger.own(Account::Sessions, Table::default()),
            on: false,
            risen: Vec::new(),
            tend_at: Time::NEVER,
            seeded,
            ledger,
        }
    }

    /// Whether anything has to be counted.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Bytes of the table, by a walk.
    pub(crate) fn recount(&self) -> usize {
        let budgets = self.iter().map(|(_, budget)| {
            let counts = budget.counts.as_ref().map_or(0, |_| Boxed::<LoadCounts>::BLOCK_BYTES);
            budget.heap_bytes() + counts
        });
        self.table.blocks_bytes() + budgets.sum::<usize>()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Budget)> {
        let budgets = self.table.budgets.iter().enumerate();
        budgets.filter_map(|(number, budget)| Some((number as u32, budget.as_ref()?)))
    }

    pub(super) fn places(&self) -> u32 {
        self.table.budgets.len() as u32
    }

    pub(super) fn get(&self, budget: u32) -> Option<&Budget> {
        self.table.get(budget)
    }

    fn get_mut(&mut self, budget: u32) -> Option<&mut Budget> {
        self.table.elements_mut().get_mut(budget as usize)?.as_mut()
    }

    // --- configuration ---

    /// Whether these are the rules in force.
    pub(super) fn obeys(&self, rules: &BudgetRules, listeners: &[Option<usize>]) -> bool {
        self.rules == *rules && self.listener_limits == listeners
    }

    /// Takes other rules. No session counts to any budget afterwards: let all of them join anew.
    /// What a budget that stays has done so far is kept.
    pub(super) fn set_rules(&mut self, rules: BudgetRules, listeners: Vec<Option<usize>>) {
        let seeded = self.seeded.clone();
        let on = !rules.users.is_empty()
            || rules.each_user.is_some()
            || listeners.iter().any(Option::is_some);
        let mut table = self.table.edit();
        for number in 0..table.budgets.len() as u32 {
            let limit = match table.get(number).map(|budget| &budget.of) {
                Some(BudgetOf::Listener(at)) => {
                    listeners.get(usize::from(*at)).copied().flatten().map(|limit| (limit, true))
                }
                Some(BudgetOf::User(name)) => rules.of_user(name.as_deref()),
                Some(BudgetOf::Topic(_)) | None => None,
            };
            match (limit, table.budgets.get_mut(number as usize)) {
                (Some((limit, lasting)), Some(Some(budget))) => {
                    (budget.limit, budget.lasting) = (limit, lasting);
                    (budget.used, budget.sessions, budget.step) = (0, 0, Step::Clear);
                }
                _ => table.remove(&seeded, number),
            }
        }
        table.raised = Vec::new();
        table.listeners = Vec::new();
        let own = |of, limit| Budget {
            of,
            limit,
            used: 0,
            step: Step::Clear,
            sessions: 0,
            lasting: true,
            counts: None,
        };
        for (number, limit) in listeners.iter().enumerate() {
            let of = BudgetOf::Listener(number as u16);
            let known = table.budgets.iter().position(|b| b.as_ref().is_some_and(|b| b.of == of));
            let budget = match (known, limit) {
                (Some(known), _) => known as u32,
                (None, Some(limit)) => table.add(&seeded, own(of, *limit)),
                (None, None) => NONE,
            };
            table.listeners.push(budget);
        }
        for user in &rules.users {
            if table.user(&seeded, user.username.as_deref()).is_none() {
                table.add(&seeded, own(BudgetOf::User(user.username.clone()), user.bytes));
            }
        }
        if !on {
            *table = Table::default();
        }
        drop(table);
        self.on = on;
        (self.rules, self.listener_limits) = (rules, listeners);
    }

    /// Forgets budgets that have neither a line nor a session.
    pub(super) fn prune(&mut self) {
        let seeded = self.seeded.clone();
        let mut table = self.table.edit();
        for number in 0..table.budgets.len() as u32 {
            if table.get(number).is_some_and(|budget| !budget.lasting && budget.sessions == 0) {
                table.remove(&seeded, number);
            }
        }
    }

    // --- sessions come, change and go ---

    /// Counts a session to the budgets of its present listener and user.
    pub(crate) fn join(&mut self, session: &mut Session) {
        if !self.on && session.counted.is_nowhere() {
            return;
        }
        let restored = session.flags.restored;
        let listener = match self.table.listeners.get(usize::from(session.listener)) {
            Some(&budget) if !restored => budget,
            _ => NONE,
        };
        let user = self.user_budget(session.username.as_deref());
        for budget in [listener, user] {
            if let Some(budget) = self.get_mut(budget) {
                budget.sessions += 1;
            }
        }
        self.leave(session);
        let names = Session::fixed_bytes(&session.client_identifier, session.username.as_deref());
        let fixed = (Boxed::<Session>::BLOCK_BYTES + names) as u32;
        session.counted = Counted { listener, user, fixed, bytes: 0 };
        self.settle(session);
    }

    /// The budget of a user, made if it has none and each is to have one.
    fn user_budget(&mut self, username: Option<&str>) -> u32 {
        if let Some(budget) = self.table.user(&self.seeded, username) {
            return budget;
        }
        let Some((limit, lasting)) = self.rules.of_user(username) else { return NONE };
        let budget = Budget {
            of: BudgetOf::User(username.map(Box::from)),
            limit,
            used: 0,
            step: Step::Clear,
            sessions: 0,
            lasting,
            counts: None,
        };
        let seeded = self.seeded.clone();
        self.table.edit().add(&seeded, budget)
    }

    /// A session counts to nothing any more.
    pub(crate) fn leave(&mut self, session: &mut Session) {
        let counted = core::mem::replace(&mut session.counted, Counted::NOWHERE);
        for number in counted.budgets() {
            let Some(budget) = self.get_mut(number) else { continue };
            budget.used = budget.used.saturating_sub(counted.bytes);
            budget.sessions = budget.sessions.saturating_sub(1);
            if budget.sessions == 0 && !budget.lasting {
                let seeded = self.seeded.clone();
                self.table.edit().remove(&seeded, number);
            }
        }
    }

    /// Counts what a session holds now in place of what it held before. Budgets go up their steps
    /// at once.
    pub(crate) fn settle(&mut self, session: &mut Session) {
        if session.counted.is_nowhere() {
            return;
        }
        let bytes = session.weight();
        let before = core::mem::replace(&mut session.counted.bytes, bytes);
        if bytes == before {
            return;
        }
        for number in session.counted.budgets() {
            let Some(budget) = self.get_mut(number) else { continue };
            budget.used = budget.used.saturating_sub(before).saturating_add(bytes);
            let was = budget.step;
            let step = was.max(Step::Clear.after(budget.used, budget.limit));
            if step > was {
                budget.step = step;
                self.rise(number, was, step);
            }
        }
    }

    fn rise(&mut self, number: u32, was: Step, step: Step) {
        if was == Step::Clear {
            self.table.edit().raised.push(number);
        }
        for each in Step::ALL.into_iter().filter(|&each| each > was && each <= step) {
            self.count_one(number, |counts| {
                if let Some(count) = counts.entered.get_mut(each as usize) {
                    *count += 1;
                }
            });
            self.risen.push(Risen { budget: number, step: each });
        }
    }

    /// Has budgets whose step is too far go down one. Answers the furthest step that is in force.
    pub(super) fn fall(&mut self) -> Step {
        let mut most = Step::Clear;
        let mut table = self.table.edit();
        let mut raised = core::mem::take(&mut table.raised);
        raised.retain(|&number| {
            let Some(Some(budget)) = table.budgets.get_mut(number as usize) else { return false };
            budget.step = budget.step.after(budget.used, budget.limit);
            most = most.max(budget.step);
            budget.step > Step::Clear
        });
        if raised.is_empty() {
            raised = Vec::new();
        }
        table.raised = raised;
        most
    }

    /// Whether any budget has a step in force.
    pub(super) fn is_raised(&self) -> bool {
        !self.table.raised.is_empty()
    }

    // --- what holds ---

    /// The step that holds for a session: that of its budget that is further on.
    pub(crate) fn step(&self, session: &Session) -> Step {
        if self.on { self.furthest(session.counted.budgets()) } else { Step::Clear }
    }

    /// Bytes that may be unsent for a session. From [`Step::SlowPublishers`] on that is little of the whole
    /// budget, too: what is sent from a queue is held twice, and who comes back for it must not
    /// be put out for that.
    pub(crate) fn output_max(&self, session: &Session) -> u32 {
        if !self.on {
            return u32::MAX;
        }
        let most = |budget: &Budget| {
            let of_step = budget.step.output_bytes_max();
            if budget.step < Step::SlowPublishers {
                return of_step;
            }
            let part = (budget.limit / OUTPUT_PART).max(OUTPUT_BYTES_MIN);
            of_step.min(u32::try_from(part).unwrap_or(u32::MAX))
        };
        let budgets = session.counted.budgets().into_iter();
        budgets.filter_map(|budget| self.table.get(budget)).map(most).min().unwrap_or(u32::MAX)
    }

    /// The step that holds for a client that comes through a listener.
    pub(crate) fn step_of_newcomer(&self, listener: u16, username: Option<&str>) -> Step {
        if !self.on {
            return Step::Clear;
        }
        let listener = self.table.listeners.get(usize::from(listener)).copied().unwrap_or(NONE);
        let user = self.table.user(&self.seeded, username).unwrap_or(NONE);
        self.furthest([listener, user])
    }

    fn furthest(&self, budgets: [u32; 2]) -> Step {
        let step = |budget| self.table.get(budget).map_or(Step::Clear, |budget| budget.step);
        budgets.into_iter().map(step).max().unwrap_or_default()
    }

    /// Counts something that those of a session's budgets have done that are at `step` or further.
    pub(crate) fn count(&mut self, session: &Session, step: Step, each: impl Fn(&mut LoadCounts)) {
        self.count_at(session.counted.budgets(), step, each);
    }

    /// The same for a client that comes through a listener.
    pub(crate) fn count_newcomer(
        &mut self,
        listener: u16,
        username: Option<&str>,
        step: Step,
        each: impl Fn(&mut LoadCounts),
    ) {
        let listener = self.table.listeners.get(usize::from(listener)).copied().unwrap_or(NONE);
        let user = self.table.user(&self.seeded, username).unwrap_or(NONE);
        self.count_at([listener, user], step, each);
    }

    fn count_at(&mut self, budgets: [u32; 2], step: Step, each: impl Fn(&mut LoadCounts)) {
        for number in budgets {
            if self.get(number).is_some_and(|budget| budget.step >= step) {
                self.count_one(number, &each);
            }
        }
    }

    fn count_one(&mut self, number: u32, each: impl Fn(&mut LoadCounts)) {
        let ledger = self.ledger;
        let Some(budget) = self.get_mut(number) else { return };
        let counts = budget
            .counts
            .get_or_insert_with(|| Boxed::new(ledger, Account::Sessions, LoadCounts::default(), 0));
        each(counts);
    }

    /// Numbers of the budgets that a session counts to, and with how many bytes.
    pub(super) fn of(session: &Session) -> ([u32; 2], usize) {
        (session.counted.budgets(), session.counted.bytes)
    }
}
