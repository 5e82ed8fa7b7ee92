//! Random histories against a map: the same names, and a tree that does not tell how it came about.

use std::collections::BTreeMap;

use proptest::prelude::*;
use pyrgos_protocol::encoding::{FromCbor, ToCbor};
use pyrgos_protocol::names::{Chain, Delta, NameBlock, Operation, State};

use super::network::{Network, claim, day, home, name, owner, update};
use super::support;

#[derive(Clone, Debug)]
enum Step {
    SignUp(u8),
    Renew(u8),
    ChangeKey(u8),
    Forged(u8),
    Nothing,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u8>().prop_map(Step::SignUp),
        2 => any::<u8>().prop_map(Step::Renew),
        2 => any::<u8>().prop_map(Step::ChangeKey),
        1 => any::<u8>().prop_map(Step::Forged),
        1 => Just(Step::Nothing),
    ]
}

/// A name of the model: its chain, and how often its key changed.
type Model = BTreeMap<String, (Chain, u32)>;

fn operation(step: &Step, model: &mut Model, network: &mut Network, days: i64) -> Option<(Operation, bool)> {
    let text = match step {
        Step::SignUp(at) | Step::Renew(at) | Step::ChangeKey(at) | Step::Forged(at) => format!("user-{}", at % 64),
        Step::Nothing => return None,
    };
    let key = |version: u32| owner(&format!("{text} {version}"));
    let user = name(&text);
    match (step, model.get_mut(&text)) {
        (Step::SignUp(_), known) => {
            let taken = known.is_some();
            // Another key each time, since a commitment whose claim is refused stays open.
            let by = if taken { format!("{text} on day {days}") } else { format!("{text} 0") };
            let operation = network.committed(claim(&text, &by));
            if !taken {
                let Operation::Claim { chain, .. } = &operation else { unreachable!() };
                model.insert(text, (chain.clone(), 0));
            }
            Some((operation, !taken))
        }
        (Step::Renew(_), Some((chain, version))) => {
            *chain = chain.with_last_claim(&user, day(days), home("server"), &key(*version));
            Some((update(&text, chain.clone()), true))
        }
        (Step::ChangeKey(_), Some((chain, version))) if *version < 8 => {
            let links = Chain::key_change(&user, &key(*version), &key(*version + 1), home("server"), day(days));
            chain.0.pop();
            chain.0.extend(links.0.clone());
            *version += 1;
            Some((update(&text, links), true))
        }
        (Step::Forged(_), Some((chain, _))) => {
            let forged = chain.with_last_claim(&user, day(days), home("server"), &owner("nobody"));
            Some((update(&text, forged), false))
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..support::properties() })]

    #[test]
    fn a_history_leads_to_the_names_of_a_map(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut network, mut model) = (Network::new(1), Model::new());
        let mut replay = (network.state.clone(), network.names.clone());
        for (at, step) in steps.iter().enumerate() {
            let Some((operation, valid)) = operation(step, &mut model, &mut network, 100 + at as i64) else {
                network.decide(&[]);
                continue;
            };
            prop_assert_eq!(network.decide(&[operation]).is_empty(), valid);
        }
        let names: BTreeMap<_, _> = model.into_iter().map(|(text, (chain, _))| (name(&text), chain)).collect();
        prop_assert_eq!(network.names.chains(), &names);

        // The tree is that of the names alone, and the store has its nodes and no others.
        let (root, built) = Delta::of_names(names).unwrap();
        prop_assert_eq!(network.state.root(), &root);
        prop_assert_eq!(network.names.node_count(), built.nodes.len());

        // Whoever applies the blocks later, from their bytes and with a state from its bytes, comes to the same.
        for decided in &network.blocks {
            let block = NameBlock::from_bytes(&decided.block.to_bytes()).unwrap();
            let applied = State::from_bytes(&replay.0.to_bytes()).unwrap().apply(&replay.1, &block).unwrap();
            replay.1.put(applied.delta);
            replay.0 = applied.state;
        }
        prop_assert_eq!(replay, (network.state, network.names));
    }
}
