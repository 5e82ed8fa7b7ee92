//! Where whoever waits for a decision sees how far the network is.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pyrgos_protocol::names::{OperationId, State};

/// Most refusals that are remembered, for whoever has not looked yet.
const MAX_REFUSALS: usize = 1024;

/// What is known now.
pub struct News {
    /// The state after the last decision.
    pub state: State,
    /// The round in which the next block is being decided, if it is.
    pub round: Option<u32>,
    /// Why nothing is decided here any more.
    pub end: Option<String>,
    refusals: VecDeque<(OperationId, String)>,
}

impl News {
    /// Why an operation of this node was refused, if it was since it was last asked for.
    pub fn take_refusal(&mut self, id: &OperationId) -> Option<String> {
        let at = self.refusals.iter().position(|(refused, _)| refused == id)?;
        self.refusals.remove(at).map(|(_, cause)| cause)
    }
}

/// See the [module](self).
pub struct Board {
    news: Mutex<News>,
    changed: Condvar,
}

impl Board {
    /// A board that shows a state.
    pub fn new(state: State) -> Self {
        let news = News { state, round: None, end: None, refusals: VecDeque::new() };
        Board { news: Mutex::new(news), changed: Condvar::new() }
    }

    /// What is known now. To be let go of soon.
    pub fn look(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known.
    pub fn post(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.look());
        self.changed.notify_all();
    }

    /// Remembers a refusal.
    pub fn refuse(&self, id: OperationId, cause: String) {
        self.post(|news| {
            if news.refusals.len() >= MAX_REFUSALS {
                news.refusals.pop_front();
            }
            news.refusals.push_back((id, cause));
        });
    }

    /// Waits until `answer` gives one; none when the time is up.
    pub fn wait<T>(&self, until: Instant, mut answer: impl FnMut(&mut News) -> Option<T>) -> Option<T> {
        let mut news = self.look();
        loop {
            if let Some(answer) = answer(&mut news) {
                return Some(answer);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            news = self.changed.wait_timeout(news, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
