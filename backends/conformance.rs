//! The contract of [`Store`] as code. [`run`] is the suite that every backend passes, [`survives_reopening`] the part
//! for backends whose keys outlive the process, and [`differential`] runs the same random operations on several stores
//! and compares the results.
//!
//! Not here: what is specific to one backend (modes of files, locks of databases), which is in its own tests.

use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::{Name, Store, StoreError, Value};

/// The result of a check: if it fails, what was expected and what was returned.
type Outcome = Result<(), String>;
type Check = fn(Arc<dyn Store>, Lengths) -> Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The checks, each with a sentence of the contract.
const CHECKS: &[(&str, Check)] = &[
    ("an empty store responds, lists nothing and finds nothing", |s, _| Box::pin(empty(s))),
    ("a created value is read back unchanged", |s, _| Box::pin(created_is_read(s))),
    ("a second create fails and the first value remains", |s, l| Box::pin(second_create(s, l))),
    ("of concurrent creates exactly one succeeds, and all callers read its value", |s, _| Box::pin(race(s))),
    ("all valid names are different names", |s, _| Box::pin(names_at_the_limits(s))),
    ("a listing is in byte order", |s, _| Box::pin(byte_order(s))),
    ("pages of any size add up to the complete listing", |s, _| Box::pin(pages(s))),
    ("a prefix is plain text and not a pattern", |s, _| Box::pin(prefixes(s))),
    ("a listing continues after a name that does not exist", |s, _| Box::pin(after_absent(s))),
    ("values of any size and content are stored unchanged", |s, l| Box::pin(values_at_the_limits(s, l))),
    ("a value that is too long is refused and nothing is stored", |s, l| Box::pin(too_long(s, l))),
    ("a deleted name is not found", |s, _| Box::pin(deleted(s))),
    ("a name that was deleted can be created with another value", |s, l| Box::pin(created_again(s, l))),
    ("the value of a name that is created and deleted repeatedly is complete or not found", |s, l| {
        Box::pin(created_and_deleted(s, l))
    }),
    ("an existing name is in every listing while others are created and deleted", |s, _| {
        Box::pin(listed_during_changes(s))
    }),
    ("a dropped create has happened completely or not at all", |s, l| Box::pin(dropped_creates(s, l))),
    ("a store can be closed twice", |s, _| Box::pin(closed_twice(s))),
];

/// The lengths of values that a store accepts. They only differ from the contract if the service of a store restricts
/// them.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// The minimum number of bytes.
    pub least: usize,
    /// The maximum number of bytes.
    pub most: usize,
}

impl Default for Lengths {
    fn default() -> Self {
        Self { least: 0, most: Value::MAX_LEN }
    }
}

/// Runs every check, each on a store of its own from `open_empty`.
///
/// Some checks race: use a runtime with several threads.
///
/// # Panics
/// With the sentence of the check that fails, what was expected, and what was returned.
pub async fn run<F, Fut>(open_empty: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Store>>,
{
    run_within(Lengths::default(), open_empty).await;
}

/// [`run`], for a store whose service restricts the lengths of values further.
///
/// # Panics
/// As [`run`].
pub async fn run_within<F, Fut>(lengths: Lengths, open_empty: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Store>>,
{
    for (sentence, check) in CHECKS {
        let store = open_empty().await;
        let outcome = check(Arc::clone(&store), lengths).await;
        store.close().await;
        demand(sentence, &format!("{store:?}"), outcome);
    }
}

/// Checks that what was stored still exists after the store was closed and opened again. `open` opens the same place
/// each time, which is empty at first.
///
/// # Panics
/// With what was expected and what was returned.
pub async fn survives_reopening<F, Fut>(open: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Store>>,
{
    let before = open().await;
    let outcome = to_be_reopened(&*before).await;
    demand("values are stored and deleted", &format!("{before:?}"), outcome);
    before.close().await;
    drop(before);
    let after = open().await;
    let outcome = reopened(&*after).await;
    demand("what was stored still exists after closing and opening the store", &format!("{after:?}"), outcome);
    after.close().await;
}

/// Runs the same `operations` random operations on all stores, which are empty at first, and compares every result and
/// finally everything that they contain. The same seed results in the same operations.
///
/// # Panics
/// With the operation whose results differ between two stores.
pub async fn differential(stores: Vec<Arc<dyn Store>>, seed: u64, operations: usize) {
    differential_within(Lengths::default(), stores, seed, operations).await;
}

/// [`differential`], only with values of these lengths.
///
/// # Panics
/// As [`differential`].
pub async fn differential_within(lengths: Lengths, stores: Vec<Arc<dyn Store>>, seed: u64, operations: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let names = random_names(&mut random);
    for step in 0..operations {
        let operation = Operation::random(&mut random, &names, lengths);
        demand_agreement(&stores, &operation, &format!("operation {step} of seed {seed}")).await;
    }
    demand_agreement(&stores, &Operation::List(String::new(), None, usize::MAX), "the listing in the end").await;
    for name in names {
        demand_agreement(&stores, &Operation::Get(name), "what is stored in the end").await;
    }
}

#[expect(clippy::panic, reason = "a suite reports by panicking")]
fn demand(sentence: &str, place: &str, outcome: Outcome) {
    if let Err(why) = outcome {
        panic!("{sentence}: {why} [{place}]");
    }
}

/// The result of an operation, in a form that can be compared. The texts of errors are shown, but are not compared.
#[derive(Debug, PartialEq)]
enum Reply {
    Done,
    Value(Value),
    Names(Vec<Name>),
    AlreadyExists,
    NotFound,
    Damaged(Text),
    Withheld(Text),
    Unreachable(Text),
    Unavailable(Text),
}

/// A text that is equal to any other one.
struct Text(String);

impl PartialEq for Text {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<()> for Reply {
    fn from((): ()) -> Self {
        Self::Done
    }
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl From<Vec<Name>> for Reply {
    fn from(names: Vec<Name>) -> Self {
        Self::Names(names)
    }
}

fn reply<T: Into<Reply>>(result: Result<T, StoreError>) -> Reply {
    match result {
        Ok(found) => found.into(),
        Err(StoreError::AlreadyExists) => Reply::AlreadyExists,
        Err(StoreError::NotFound) => Reply::NotFound,
        Err(error @ StoreError::Damaged { .. }) => Reply::Damaged(Text(error.to_string())),
        Err(error @ StoreError::Withheld { .. }) => Reply::Withheld(Text(error.to_string())),
        Err(error @ StoreError::Unreachable { .. }) => Reply::Unreachable(Text(error.to_string())),
        Err(error @ (StoreError::NotReady { .. } | StoreError::Unavailable { .. })) => {
            Reply::Unavailable(Text(error.to_string()))
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the callers create both values just for this")]
fn expect(what: &str, got: Reply, wanted: Reply) -> Outcome {
    if got == wanted { Ok(()) } else { Err(format!("{what}: expected {wanted:?}, got {got:?}")) }
}

fn ensure(condition: bool, what: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(what()) }
}

fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|error| error.to_string())
}

fn names(texts: &[&str]) -> Result<Vec<Name>, String> {
    texts.iter().map(|text| name(text)).collect()
}

fn value(text: impl AsRef<[u8]>) -> Value {
    Value::from(text.as_ref().to_vec())
}

/// Creates these names, each with a value that is derived from it.
async fn fill(store: &dyn Store, texts: &[&str]) -> Outcome {
    for text in texts {
        let created = store.create(&name(text)?, &value(format!("value of {text}"))).await;
        expect(&format!("create {text}"), reply(created), Reply::Done)?;
    }
    Ok(())
}

async fn empty(store: Arc<dyn Store>) -> Outcome {
    expect("ping", reply(store.ping().await), Reply::Done)?;
    expect("list", reply(store.list("", None, 10).await), Reply::Names(vec![]))?;
    expect("get", reply(store.get(&name("absent")?).await), Reply::NotFound)?;
    expect("delete", reply(store.delete(&name("absent")?).await), Reply::NotFound)
}

async fn created_is_read(store: Arc<dyn Store>) -> Outcome {
    let key = name("my-key")?;
    expect("create", reply(store.create(&key, &value("one")).await), Reply::Done)?;
    for _ in 0..2 {
        expect("get", reply(store.get(&key).await), Reply::Value(value("one")))?;
    }
    expect("get of another name", reply(store.get(&name("my-ke")?).await), Reply::NotFound)?;
    expect("list", reply(store.list("", None, 10).await), Reply::Names(vec![key]))?;
    expect("ping", reply(store.ping().await), Reply::Done)
}

async fn second_create(store: Arc<dyn Store>, lengths: Lengths) -> Outcome {
    let key = name("my-key")?;
    expect("first create", reply(store.create(&key, &value("first")).await), Reply::Done)?;
    for other in ["second", "first", &"x".repeat(lengths.least)] {
        expect("second create", reply(store.create(&key, &value(other)).await), Reply::AlreadyExists)?;
        expect("get", reply(store.get(&key).await), Reply::Value(value("first")))?;
    }
    Ok(())
}

async fn race(store: Arc<dyn Store>) -> Outcome {
    const TASKS: usize = 32;
    const NAMES: usize = 50;
    let start = Arc::new(Barrier::new(TASKS));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (store, start) = (Arc::clone(&store), Arc::clone(&start));
        tasks.spawn(async move {
            let mut seen = Vec::new();
            for number in 0..NAMES {
                start.wait().await;
                let Ok(key) = Name::parse(&format!("key-{number}")) else { continue };
                let created = reply(store.create(&key, &value(format!("{number} by {task}"))).await);
                seen.push((created, reply(store.get(&key).await)));
            }
            (task, seen)
        });
    }
    let mut winners = vec![Vec::new(); NAMES];
    let mut read = Vec::new();
    while let Some(task) = tasks.join_next().await {
        let (task, seen) = task.map_err(|error| error.to_string())?;
        for ((number, winners), (created, got)) in winners.iter_mut().enumerate().zip(seen) {
            match created {
                Reply::Done => winners.push(task),
                Reply::AlreadyExists => {}
                other => {
                    return Err(format!("create {number} by {task}: expected success or AlreadyExists, got {other:?}"));
                }
            }
            read.push((number, got));
        }
    }
    for (number, winners) in winners.iter().enumerate() {
        ensure(winners.len() == 1, || format!("key {number}: expected one successful create, got {winners:?}"))?;
    }
    for (number, got) in read {
        let winner = winners.get(number).and_then(|winners| winners.first()).copied().unwrap_or_default();
        let wanted = Reply::Value(value(format!("{number} by {winner}")));
        expect(&format!("get of key {number} by one of the tasks"), got, wanted)?;
    }
    Ok(())
}

async fn names_at_the_limits(store: Arc<dyn Store>) -> Outcome {
    let (longest, other) = ("k".repeat(Name::MAX_LEN), format!("{}j", "k".repeat(Name::MAX_LEN - 1)));
    let mut all = vec![
        "a", "0", "__", "_a", "a_", "Key", "key", "KEY", "a-b", "a--b", "007", "7", "nul", "con", &longest, &other,
    ];
    fill(&*store, &all).await?;
    for text in &all {
        let wanted = Reply::Value(value(format!("value of {text}")));
        expect(&format!("get {text}"), reply(store.get(&name(text)?).await), wanted)?;
    }
    all.sort_unstable();
    expect("list", reply(store.list("", None, 100).await), Reply::Names(names(&all)?))
}

async fn byte_order(store: Arc<dyn Store>) -> Outcome {
    fill(&*store, &["ka", "k_", "kA", "kZ", "k9", "k0", "k-0", "k", "K", "__", "z", "0"]).await?;
    let wanted = names(&["0", "K", "__", "k", "k-0", "k0", "k9", "kA", "kZ", "k_", "ka", "z"])?;
    expect("list", reply(store.list("", None, 100).await), Reply::Names(wanted))
}

async fn pages(store: Arc<dyn Store>) -> Outcome {
    const COUNT: usize = 60;
    let texts: Vec<String> = (0..COUNT).map(|number| format!("{}-key_{number}", number % 7)).collect();
    fill(&*store, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let whole = store.list("", None, usize::MAX).await.map_err(|error| error.to_string())?;
    ensure(whole.len() == COUNT, || format!("expected {COUNT} names, got {}", whole.len()))?;
    ensure(whole.is_sorted(), || format!("expected byte order, got {whole:?}"))?;
    for size in 1..=COUNT + 1 {
        let mut pages: Vec<Name> = Vec::new();
        loop {
            let page = store.list("", pages.last(), size).await.map_err(|error| error.to_string())?;
            ensure(page.len() <= size, || format!("expected at most {size} names, got {}", page.len()))?;
            let full = page.len() == size;
            pages.extend(page);
            if !full || pages.len() > COUNT {
                break;
            }
        }
        expect(&format!("pages of {size}"), Reply::Names(pages), Reply::Names(whole.clone()))?;
    }
    expect("a page of none", reply(store.list("", None, 0).await), Reply::Names(vec![]))
}

async fn prefixes(store: Arc<dyn Store>) -> Outcome {
    let longest = "z".repeat(Name::MAX_LEN);
    fill(&*store, &["app", "app-1", "app-2", "app_1", "appX1", "apz", "ap", "App-1", "a_b", "axb", "z", &longest])
        .await?;
    let cases: &[(&str, &[&str])] = &[
        ("app", &["app", "app-1", "app-2", "appX1", "app_1"]),
        ("app-", &["app-1", "app-2"]),
        ("app_", &["app_1"]),
        ("a_", &["a_b"]),
        ("_", &[]),
        ("app-1", &["app-1"]),
        ("app-10", &[]),
        ("A", &["App-1"]),
        ("z", &["z", &longest]),
        ("zz", &[&longest]),
        ("%", &[]),
        ("*", &[]),
        ("a*", &[]),
        ("", &["App-1", "a_b", "ap", "app", "app-1", "app-2", "appX1", "app_1", "apz", "axb", "z", &longest]),
    ];
    for (prefix, wanted) in cases {
        let got = reply(store.list(prefix, None, 100).await);
        expect(&format!("list of prefix '{prefix}'"), got, Reply::Names(names(wanted)?))?;
    }
    let got = reply(store.list("app", Some(&name("app-1")?), 2).await);
    expect("list of prefix and after", got, Reply::Names(names(&["app-2", "appX1"])?))
}

async fn after_absent(store: Arc<dyn Store>) -> Outcome {
    fill(&*store, &["b", "d", "f-1", "f-2"]).await?;
    let cases: &[(&str, &str, &[&str])] = &[
        ("", "a", &["b", "d", "f-1", "f-2"]),
        ("", "b", &["d", "f-1", "f-2"]),
        ("", "c", &["d", "f-1", "f-2"]),
        ("", "f-1-1", &["f-2"]),
        ("", "z", &[]),
        ("f-", "a", &["f-1", "f-2"]),
        ("f-", "f-1", &["f-2"]),
        ("f-", "z", &[]),
        ("b", "b", &[]),
        ("b", "d", &[]),
    ];
    for (prefix, after, wanted) in cases {
        let got = reply(store.list(prefix, Some(&name(after)?), 100).await);
        expect(&format!("list of prefix '{prefix}' after {after}"), got, Reply::Names(names(wanted)?))?;
    }
    Ok(())
}

async fn values_at_the_limits(store: Arc<dyn Store>, lengths: Lengths) -> Outcome {
    let mut longest = vec![0; lengths.most];
    StdRng::seed_from_u64(1).fill_bytes(&mut longest);
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    let values: &[(&str, &[u8])] = &[
        ("shortest", &vec![b'x'; lengths.least]),
        ("one", b"x"),
        ("nul", b"\0"),
        ("line", b"text\n"),
        ("no-text", b"\xff\xfe'\"\\"),
        ("every-byte", &every_byte),
        ("longest", &longest),
    ];
    for (text, bytes) in values {
        expect(&format!("create {text}"), reply(store.create(&name(text)?, &value(bytes)).await), Reply::Done)?;
    }
    for (text, bytes) in values {
        expect(&format!("get {text}"), reply(store.get(&name(text)?).await), Reply::Value(value(bytes)))?;
    }
    Ok(())
}

async fn too_long(store: Arc<dyn Store>, lengths: Lengths) -> Outcome {
    let key = name("my-key")?;
    let long = Value::from(vec![7; lengths.most + 1]);
    let refused = || Reply::Unavailable(Text("a refusal".into()));
    expect("create", reply(store.create(&key, &long).await), refused())?;
    expect("get", reply(store.get(&key).await), Reply::NotFound)?;
    expect("list", reply(store.list("", None, 10).await), Reply::Names(vec![]))?;
    expect("a shorter value", reply(store.create(&key, &value("short")).await), Reply::Done)
}

async fn deleted(store: Arc<dyn Store>) -> Outcome {
    fill(&*store, &["gone", "gone-too", "stays"]).await?;
    expect("delete", reply(store.delete(&name("gone")?).await), Reply::Done)?;
    expect("get", reply(store.get(&name("gone")?).await), Reply::NotFound)?;
    expect("second delete", reply(store.delete(&name("gone")?).await), Reply::NotFound)?;
    expect("list", reply(store.list("", None, 10).await), Reply::Names(names(&["gone-too", "stays"])?))?;
    expect("get of another", reply(store.get(&name("stays")?).await), Reply::Value(value("value of stays")))
}

async fn created_again(store: Arc<dyn Store>, lengths: Lengths) -> Outcome {
    let key = name("my-key")?;
    for round in ["a long first value", "short", &"x".repeat(lengths.least)] {
        expect("create", reply(store.create(&key, &value(round)).await), Reply::Done)?;
        expect("get", reply(store.get(&key).await), Reply::Value(value(round)))?;
        expect("delete", reply(store.delete(&key).await), Reply::Done)?;
    }
    expect("get", reply(store.get(&key).await), Reply::NotFound)
}

async fn created_and_deleted(store: Arc<dyn Store>, lengths: Lengths) -> Outcome {
    const ROUNDS: usize = 50;
    const READERS: usize = 6;
    // Long enough that an incomplete write would be noticed.
    let len = lengths.most.min(100_000);
    let long = move || Value::from(vec![9; len]);
    let key = name("my-key")?;
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let (store, key) = (Arc::clone(&store), key.clone());
        readers.spawn(async move {
            loop {
                match reply(store.get(&key).await) {
                    Reply::NotFound => {}
                    got => expect("get", got, Reply::Value(long()))?,
                }
                tokio::task::yield_now().await;
            }
        });
    }
    for _ in 0..ROUNDS {
        expect("create", reply(store.create(&key, &long()).await), Reply::Done)?;
        expect("delete", reply(store.delete(&key).await), Reply::Done)?;
    }
    // A reader only ends by itself after a wrong result.
    match readers.try_join_next() {
        Some(ended) => ended.map_err(|error| error.to_string())?,
        None => Ok(()),
    }
}

async fn listed_during_changes(store: Arc<dyn Store>) -> Outcome {
    const ROUNDS: usize = 20;
    let stable: Vec<String> = (0..40).map(|number| format!("stable-{number}")).collect();
    fill(&*store, &stable.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let wanted = store.list("stable", None, 100).await.map_err(|error| error.to_string())?;
    let (other, key) = (Arc::clone(&store), name("passing")?);
    let changes = tokio::spawn(async move {
        for _ in 0..ROUNDS {
            expect("create", reply(other.create(&key, &value("passing")).await), Reply::Done)?;
            expect("delete", reply(other.delete(&key).await), Reply::Done)?;
        }
        Outcome::Ok(())
    });
    while !changes.is_finished() {
        let mut all = store.list("", None, 100).await.map_err(|error| error.to_string())?;
        all.retain(|name| name.as_str() != "passing");
        expect("list", Reply::Names(all), Reply::Names(wanted.clone()))?;
        tokio::task::yield_now().await;
    }
    changes.await.map_err(|error| error.to_string())?
}

async fn dropped_creates(store: Arc<dyn Store>, lengths: Lengths) -> Outcome {
    const CREATES: u64 = 60;
    let repeats = lengths.most.min(80_000) / size_of::<u64>();
    let long = move |number: u64| Value::from(number.to_le_bytes().repeat(repeats));
    let mut random = StdRng::seed_from_u64(2);
    for number in 0..CREATES {
        let (other, key) = (Arc::clone(&store), name(&format!("key-{number}"))?);
        let create = tokio::spawn(async move { other.create(&key, &long(number)).await });
        tokio::time::sleep(Duration::from_micros(random.random_range(0..2_000))).await;
        create.abort();
    }
    for number in 0..CREATES {
        let key = name(&format!("key-{number}"))?;
        // It may still happen, so this create may find the name taken although the get before did not.
        match reply(store.get(&key).await) {
            Reply::NotFound => {}
            got => expect("get", got, Reply::Value(long(number)))?,
        }
        match reply(store.create(&key, &value("instead")).await) {
            Reply::Done => expect("get", reply(store.get(&key).await), Reply::Value(value("instead")))?,
            Reply::AlreadyExists => expect("get", reply(store.get(&key).await), Reply::Value(long(number)))?,
            other => return Err(format!("create: expected success or AlreadyExists, got {other:?}")),
        }
    }
    Ok(())
}

async fn closed_twice(store: Arc<dyn Store>) -> Outcome {
    fill(&*store, &["my-key"]).await?;
    store.close().await;
    store.close().await;
    // Any result is allowed now, except that the key does not exist.
    let got = reply(store.get(&name("my-key")?).await);
    ensure(got != Reply::NotFound, || format!("get after close: expected anything but NotFound, got {got:?}"))
}

async fn to_be_reopened(store: &dyn Store) -> Outcome {
    fill(store, &["kept", "deleted"]).await?;
    expect("delete", reply(store.delete(&name("deleted")?).await), Reply::Done)
}

async fn reopened(store: &dyn Store) -> Outcome {
    expect("get", reply(store.get(&name("kept")?).await), Reply::Value(value("value of kept")))?;
    expect("get", reply(store.get(&name("deleted")?).await), Reply::NotFound)?;
    expect("create", reply(store.create(&name("kept")?, &value("new")).await), Reply::AlreadyExists)?;
    expect("list", reply(store.list("", None, 10).await), Reply::Names(names(&["kept"])?))
}

/// One call of a store; `Debug` is used to report differences.
#[derive(Debug)]
enum Operation {
    Create(Name, Value),
    Get(Name),
    Delete(Name),
    List(String, Option<Name>, usize),
    Ping,
}

impl Operation {
    fn random(random: &mut StdRng, names: &[Name], lengths: Lengths) -> Self {
        let mut pick = || names.get(random.random_range(0..names.len())).cloned();
        let (Some(name), after) = (pick(), pick()) else { return Self::Ping };
        match random.random_range(0..100) {
            0..35 => {
                // Usually the size of a key; sometimes at a bound, or just beyond it.
                let len = match random.random_range(0..50) {
                    0 if lengths.most == Value::MAX_LEN => Value::MAX_LEN + random.random_range(0..2),
                    0 => lengths.most,
                    1 => lengths.least,
                    _ => random.random_range(1..400),
                };
                let mut bytes = vec![0; len];
                random.fill_bytes(&mut bytes);
                Self::Create(name, bytes.into())
            }
            35..60 => Self::Get(name),
            60..80 => Self::Delete(name),
            80..98 => {
                let text = name.as_str();
                let prefix = text.get(..random.random_range(0..=text.len())).unwrap_or_default().to_owned();
                Self::List(prefix, after.filter(|_| random.random_bool(0.5)), random.random_range(0..30))
            }
            _ => Self::Ping,
        }
    }

    async fn on(&self, store: &dyn Store) -> Reply {
        match self {
            Self::Create(name, value) => reply(store.create(name, value).await),
            Self::Get(name) => reply(store.get(name).await),
            Self::Delete(name) => reply(store.delete(name).await),
            Self::List(prefix, after, limit) => reply(store.list(prefix, after.as_ref(), *limit).await),
            Self::Ping => reply(store.ping().await),
        }
    }
}

/// Names from a small alphabet, so that many have common prefixes.
fn random_names(random: &mut StdRng) -> Vec<Name> {
    const ALPHABET: &[u8] = b"a0A_-bz";
    let mut names = Vec::new();
    while names.len() < 40 {
        let len = if random.random_bool(0.1) { Name::MAX_LEN } else { random.random_range(1..6) };
        let text: String = (0..len)
            .filter_map(|_| ALPHABET.get(random.random_range(0..ALPHABET.len())))
            .map(|byte| char::from(*byte))
            .collect();
        names.extend(Name::parse(&text).ok());
    }
    names
}

async fn demand_agreement(stores: &[Arc<dyn Store>], operation: &Operation, when: &str) {
    let mut replies = Vec::new();
    for store in stores {
        replies.push((store, operation.on(&**store).await));
    }
    if let Some((first, wanted)) = replies.first() {
        for (store, got) in &replies {
            let outcome = ensure(got == wanted, || {
                format!("{operation:?}: {first:?} returns {wanted:?}, {store:?} returns {got:?}")
            });
            demand("stores agree", when, outcome);
        }
    }
}
