//! `keyway verify`: what differs between two stores, and that it changes nothing.

use std::fs;

use crate::support::Bench;
use crate::support::bench::{keyway, stored};

#[test]
fn equal_stores_of_different_kinds_are_equal() {
    let bench = Bench::new();
    let (a, db) = (bench.keys("a", "key-", 1100), bench.sqlite("db"));
    keyway(&format!("migrate --from {a} --to {db}")).assert_done();
    for (from, to) in [(&a, &db), (&db, &a)] {
        assert_eq!(keyway(&format!("verify --from {from} --to {to}")).assert_done().reported("equal in both"), 1100);
    }
}

#[test]
fn every_kind_of_difference_is_named_and_nothing_is_written() {
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", 20), bench.fs("b"));
    keyway(&format!("migrate --from {a} --to {b}")).assert_done();
    fs::remove_file(bench.path("b").join("key-00001")).unwrap();
    bench.put("b", "key-00002", &stored());
    bench.put("b", "key-00003", b"");
    bench.put("b", "extra", &stored());
    bench.put("a", "key-00004", b"broken");
    bench.put("b", "key-00004", b"broken");
    let before = (bench.content("a"), bench.content("b"));
    let ended = keyway(&format!("verify --from {a} --to {b}"));
    ended.assert_failed(&[
        "  key-00001\n",
        "  key-00002\n",
        "key-00003: in the second keystore: it is empty",
        "key-00004: in the source:",
        "  extra\n",
    ]);
    assert_eq!((ended.reported("equal in both"), ended.reported("missing from the second keystore")), (16, 1));
    assert_eq!((ended.reported("different"), ended.reported("damaged")), (2, 1));
    assert_eq!(ended.reported("only in the second keystore"), 1);
    assert_eq!((bench.content("a"), bench.content("b")), before);
    keyway(&format!("verify --from {a} --to {b} key-0001?")).assert_done();
}

#[test]
fn keys_that_only_the_second_has_are_not_a_failure() {
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", 3), bench.fs("b"));
    keyway(&format!("migrate --from {a} --to {b}")).assert_done();
    bench.put("b", "extra", &stored());
    let ended = keyway(&format!("verify --from {a} --to {b}"));
    assert_eq!(ended.assert_done().reported("only in the second keystore"), 1);
}
