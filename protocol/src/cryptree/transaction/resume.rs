//! Where an interrupted upload goes on: the search for the first absent chunk (`spec/03` §8.2).
//!
//! A search without I/O: it names the chunks to ask for, and is told which are there. Only correct if chunks were
//! uploaded in order.

/// How many chunks are asked for in one round, which is one bulk lookup.
pub const PROBES: u64 = 8;

/// The search for the first absent chunk of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResumeSearch {
    /// Every chunk before this one is there.
    low: u64,
    /// This chunk is absent, or the file ends before it.
    high: u64,
}

impl ResumeSearch {
    /// A search over a file of this many chunks.
    pub fn new(chunks: u64) -> Self {
        ResumeSearch { low: 0, high: chunks }
    }

    /// The chunks to ask for, ascending and at most [`PROBES`]; none once the search is over.
    pub fn probes(&self) -> Vec<u64> {
        let width = self.high - self.low;
        let offset = |i: u64| (u128::from(i) * u128::from(width) / u128::from(PROBES)) as u64;
        let mut probes: Vec<u64> = (0..PROBES).map(|i| self.low + offset(i)).filter(|at| *at < self.high).collect();
        probes.dedup();
        probes
    }

    /// Takes the answer: whether each of the [probes](Self::probes) is there, in their order. A missing answer counts as
    /// absent.
    pub fn answer(&mut self, present: &[bool]) {
        for (at, probe) in self.probes().into_iter().enumerate() {
            if present.get(at) == Some(&true) {
                self.low = probe + 1;
            } else {
                self.high = probe;
                return;
            }
        }
    }

    /// The first absent chunk, once it is known; the number of chunks if none is absent.
    pub fn first_absent(&self) -> Option<u64> {
        (self.low == self.high).then_some(self.low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a search over `chunks` of which the first `present` are there; the result and the number of rounds.
    fn search(chunks: u64, present: u64) -> (u64, u32) {
        let mut search = ResumeSearch::new(chunks);
        for rounds in 0.. {
            if let Some(found) = search.first_absent() {
                return (found, rounds);
            }
            let answer: Vec<bool> = search.probes().iter().map(|probe| *probe < present).collect();
            search.answer(&answer);
            assert!(rounds < 30, "the search must end");
        }
        unreachable!()
    }

    #[test]
    fn finds_the_first_absent_chunk() {
        for chunks in 0..70 {
            for present in 0..=chunks {
                assert_eq!(search(chunks, present).0, present, "{present} of {chunks}");
            }
        }
    }

    #[test]
    fn takes_few_rounds() {
        // A file of 5 TiB has 2²⁰ chunks: 20 bits, 3 of them in each round.
        let (found, rounds) = search(1 << 20, 777_777);
        assert_eq!(found, 777_777);
        assert!(rounds <= 8, "{rounds} rounds");
        assert_eq!(search(u64::MAX, u64::MAX - 1).0, u64::MAX - 1);
    }

    #[test]
    fn asks_as_the_reference_does() {
        assert_eq!(ResumeSearch::new(80).probes(), [0, 10, 20, 30, 40, 50, 60, 70]);
        assert_eq!(ResumeSearch::new(3).probes(), [0, 1, 2]);
        assert_eq!(ResumeSearch::new(0).probes(), [0u64; 0]);
    }
}
