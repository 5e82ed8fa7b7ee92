use pyrgos_crypto::{hash, pow};

use crate::Vectors;

const FILE: &str = "06-pow";

#[test]
fn proofs() {
    let vectors = Vectors::load(FILE);
    let data = vectors.bytes("data");
    let cases = vectors.cases("proofs");
    for case in &cases {
        let difficulty = case.number("difficulty").try_into().unwrap();
        let prefix = case.array("prefix");
        let digest = hash::sha256(&[&prefix[..], &data].concat());
        assert_eq!(digest, case.array("sha256"));
        assert_eq!(pow::satisfies(&digest, difficulty), case.flag("satisfies"));
        assert_eq!(pow::check(&prefix, &data, difficulty), case.flag("satisfies"));
        assert_eq!(pow::solve(&data, difficulty, 0), Ok(prefix));
    }
    println!("{FILE} proofs: {} cases", cases.len());
}

#[test]
fn predicate() {
    let cases = Vectors::load(FILE).cases("predicate_cases");
    for case in &cases {
        let difficulty = case.number("difficulty").try_into().unwrap();
        assert_eq!(
            pow::satisfies(&case.array("hash"), difficulty),
            case.flag("satisfies"),
            "{} at {difficulty}",
            case.text("hash")
        );
    }
    println!("{FILE} predicate_cases: {} cases", cases.len());
}
