//! Logging in, and staying so: one session for everyone, renewed in the background and replaced when it is refused.
//!
//! A token is renewed when a bit more than half of its life is over, at a moment that differs from node to node. When
//! it cannot be renewed any more, a login takes its place. An operation that is answered 403 asks for another session
//! and is tried once more; however many ask at once, there is one login, and they share its failure too. A fresh token
//! that is refused is good but has no rights, and no login would change that, so [`FRESH`] bounds how often we log in.
//!
//! A token that the operator gave is renewed while Vault lets us, never revoked by us, and replaced only by another
//! text in its file.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::Value as Json;
use tokio::sync::{Mutex, Notify};
use tracing::{info, warn};
use vaultrs::api::AuthInfo;
use vaultrs::auth::{approle, cert, kubernetes, oidc};
use zeroize::Zeroizing;

use crate::StoreError;
use crate::vault::client::{Connector, Lease, Session, client, get, quiet};
use crate::vault::config::{Config, Credential, Login, Place};
use crate::vault::error::Failure;
use crate::{Secret, count_refused_credentials};

/// A session this young is refused for want of rights or because it was revoked; Vault is asked which, before a login.
const FRESH: Duration = Duration::from_secs(2);

/// How long a replaced token is left to the requests that carry it, before it is revoked.
const RETIREMENT: Duration = Duration::from_secs(10);

/// The time that revoking a token may take.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where requests get their session from.
pub(super) struct Connection {
    pub(super) place: Place,
    login: Login,
    connector: Connector,
    pool: ArcSwap<reqwest::Client>,
    session: ArcSwap<Session>,
    /// Held by the one who changes the session.
    turn: Mutex<Turn>,
    /// Told when there is another session.
    changed: Notify,
}

#[derive(Default)]
struct Turn {
    /// The last login that failed, when that was known, and why.
    failed: Option<(Instant, Failure)>,
    closed: bool,
}

impl Connection {
    /// Reads the files and logs in for the first time.
    pub(super) async fn open(config: &Config) -> Result<Self, StoreError> {
        let place = Place::of(config)?;
        let connector = Connector::new(&place, &config.tls)?;
        let pool = connector.pool()?;
        let nobody = Session::new(&place, &pool, &Secret::from(String::new()), None, false);
        let connection = Self {
            login: config.login.clone(),
            connector,
            pool: ArcSwap::from_pointee(pool),
            session: ArcSwap::from_pointee(nobody),
            turn: Mutex::default(),
            changed: Notify::new(),
            place,
        };
        match connection.log_in().await {
            Ok(session) => connection.session.store(Arc::new(session)),
            Err(failure) => {
                let doing = format!("log in with {}{}", connection.login.words(), connection.login_place());
                let failure = match connection.login.engine() {
                    // Without a token, Vault does not tell what is mounted.
                    Some(_) if failure.is_denied() => Failure::NoToken(format!(
                        "{}; it refuses the role or the credential, or nothing is mounted there",
                        failure.words()
                    )),
                    _ => failure,
                };
                return Err(connection.explain(failure, &doing).await);
            }
        }
        Ok(connection)
    }

    /// The error of a store for a failure, with what the server says about itself where that may be the cause.
    pub(super) async fn explain(&self, failure: Failure, doing: &str) -> StoreError {
        let health = match failure.code() {
            Some(429 | 472 | 473 | 500..) => crate::vault::client::health(&self.session()).await,
            _ => None,
        };
        failure.into_error(doing, &self.place, health)
    }

    pub(super) fn session(&self) -> Arc<Session> {
        self.session.load_full()
    }

    /// Makes a request that changes nothing: once more with another token when it is denied, and once more over
    /// another connection when its answer is lost.
    pub(super) async fn read<T, C, F>(&self, call: C) -> Result<T, Failure>
    where
        C: Fn(Arc<Session>) -> F,
        F: Future<Output = Result<T, Failure>>,
    {
        let session = self.session();
        match self.write_with(session.clone(), &call).await {
            Err(failure) if failure.is_lost() => {
                self.replace_pool(&session);
                self.write_with(self.session(), &call).await
            }
            done => done,
        }
    }

    /// Makes a request that may change something: once more with another token when it is denied, for then nothing
    /// has changed, and never when its outcome is unknown.
    pub(super) async fn write<T, C, F>(&self, call: C) -> Result<T, Failure>
    where
        C: Fn(Arc<Session>) -> F,
        F: Future<Output = Result<T, Failure>>,
    {
        let session = self.session();
        let done = self.write_with(session.clone(), &call).await;
        if matches!(&done, Err(failure) if failure.is_lost()) {
            self.replace_pool(&session);
        }
        done
    }

    async fn write_with<T, C, F>(&self, session: Arc<Session>, call: &C) -> Result<T, Failure>
    where
        C: Fn(Arc<Session>) -> F,
        F: Future<Output = Result<T, Failure>>,
    {
        match call(session.clone()).await {
            Err(failure) if failure.is_denied() => call(self.replace(&session, failure).await?).await,
            done => done,
        }
    }

    /// Leaves connections behind of which one has proven dead; the others probably are, too.
    fn replace_pool(&self, seen: &Arc<Session>) {
        let current = self.session();
        if !Arc::ptr_eq(&current, seen) {
            return;
        }
        // It worked with the same settings before; if not now, the old pool is as good.
        if let Ok(pool) = self.connector.pool() {
            let session = Arc::new(current.over(&self.place, &pool));
            self.pool.store(Arc::new(pool));
            self.session.compare_and_swap(&current, session);
        }
    }

    /// Another session than `seen`, which was refused with `refusal`.
    async fn replace(&self, seen: &Arc<Session>, refusal: Failure) -> Result<Arc<Session>, Failure> {
        let asked = Instant::now();
        let mut turn = self.turn.lock().await;
        let current = self.session();
        if current.secret() != seen.secret() {
            return Ok(current);
        }
        if let Some((when, failure)) = &turn.failed
            && *when >= asked
        {
            return Err(failure.clone());
        }
        if turn.closed || (current.since.elapsed() < FRESH && self.lease(&current).await.is_ok()) {
            return Err(refusal);
        }
        count_refused_credentials();
        self.log_in_anew(&mut turn, &current, refusal).await
    }

    async fn log_in_anew(
        &self,
        turn: &mut Turn,
        current: &Arc<Session>,
        refusal: Failure,
    ) -> Result<Arc<Session>, Failure> {
        let failure = match self.log_in().await {
            Ok(session) if session.secret() != current.secret() => {
                let session = Arc::new(session);
                self.session.store(session.clone());
                turn.failed = None;
                self.changed.notify_one();
                info!("logged in to Vault anew with {}", self.login.words());
                if current.own {
                    let old = current.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(RETIREMENT).await;
                        revoke(&old).await;
                    });
                }
                return Ok(session);
            }
            // The same text again: either the token is good, and it is the rights that are missing, or it is not.
            Ok(session) => match self.lease(&session).await {
                Err(failure) if failure.is_denied() => Failure::NoToken(format!(
                    "it refuses {}, which it does not know, or which was revoked or has ended; {}",
                    self.login.words(),
                    match &self.login {
                        Login::TokenFile(path) => format!("write a new one into '{}'", path.display()),
                        _ => "put a new one into the configuration".to_owned(),
                    }
                )),
                _ => refusal,
            },
            // Not an answer to the login, but the state of the server or the way to it.
            Err(failure) if failure.is_ambiguous() || matches!(failure, Failure::NotConnected(_)) => failure,
            Err(failure) => Failure::NoToken(format!(
                "it refuses the token, and logging in with {}{} failed: {}",
                self.login.words(),
                self.login_place(),
                failure.words()
            )),
        };
        count_refused_credentials();
        warn!("cannot log in to Vault anew: {}", failure.words());
        turn.failed = Some((Instant::now(), failure.clone()));
        Err(failure)
    }

    /// Gets a token in the configured way.
    async fn log_in(&self) -> Result<Session, Failure> {
        let pool = self.pool.load_full();
        let nobody = client(&self.place, &pool, "", self.place.login_namespace.clone());
        let done = match &self.login {
            Login::Token(token) => return self.given(&pool, token).await,
            Login::TokenFile(path) => {
                let token = credential(&Credential::File(path.clone())).await?;
                return self.given(&pool, &token).await;
            }
            Login::AppRole { engine, id, secret, .. } => {
                let secret = credential(secret).await?;
                quiet(approle::login(&nobody, engine.trim_matches('/'), id, secret.expose())).await
            }
            Login::Kubernetes { engine, role, jwt, .. } => {
                let jwt = credential(jwt).await?;
                quiet(kubernetes::login(&nobody, engine.trim_matches('/'), role, jwt.expose())).await
            }
            Login::Jwt { engine, role, jwt, .. } => {
                let jwt = credential(jwt).await?;
                quiet(oidc::login(&nobody, engine.trim_matches('/'), jwt.expose(), role.clone())).await
            }
            Login::Cert { engine, role, .. } => {
                quiet(cert::login(&nobody, engine.trim_matches('/'), role.as_deref().unwrap_or_default())).await
            }
        };
        let mut info = done?;
        let token = Secret::from(std::mem::take(&mut info.client_token));
        check_token(&token)?;
        Ok(Session::new(&self.place, &pool, &token, lease(&info, None), true))
    }

    /// A session with a token of the operator. One that Vault does not know is taken: the first read tells.
    async fn given(&self, pool: &reqwest::Client, token: &Secret) -> Result<Session, Failure> {
        check_token(token)?;
        let mut session = Session::new(&self.place, pool, token, None, false);
        session.lease = match self.lease(&session).await {
            Ok(lease) => lease,
            // Not every policy lets a token look at itself.
            Err(failure) if failure.is_denied() => None,
            Err(failure) => return Err(failure),
        };
        Ok(session)
    }

    /// Asks how long a token still lives; denied when it is none, or may not ask.
    async fn lease(&self, session: &Session) -> Result<Option<Lease>, Failure> {
        let answer = get(&session.token, "auth/token/lookup-self".to_owned()).await?;
        let ttl = Duration::from_secs(answer.pointer("/data/ttl").and_then(Json::as_u64).unwrap_or(0));
        let renewable = answer.pointer("/data/renewable").and_then(Json::as_bool).unwrap_or(false);
        Ok((!ttl.is_zero()).then_some(Lease { ttl, full: ttl, renewable }))
    }

    /// Renews the session for as long as it is polled.
    pub(super) async fn keep(&self) {
        /// The wait for a session without an end, which only another one interrupts.
        const ENDLESS: Duration = Duration::from_hours(1);
        loop {
            let session = self.session();
            let wait =
                session.lease.map_or(ENDLESS, |lease| spread(lease.ttl / 2).saturating_sub(session.since.elapsed()));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.changed.notified() => continue,
            }
            let Some(lease) = session.lease else { continue };
            if let Err(failure) = self.renew(&session, lease).await {
                count_refused_credentials();
                warn!("cannot renew the Vault token: {}", failure.words());
                let longest = Duration::from_secs(if session.own { 4 } else { 20 });
                tokio::time::sleep(spread((lease.ttl / 8).clamp(Duration::from_millis(200), longest))).await;
            }
        }
    }

    async fn renew(&self, seen: &Arc<Session>, lease_then: Lease) -> Result<(), Failure> {
        let mut turn = self.turn.lock().await;
        let current = self.session();
        if turn.closed || current.secret() != seen.secret() {
            return Ok(());
        }
        let ended = Failure::NoToken(format!("{} is about to end and cannot be renewed", self.login.words()));
        if lease_then.renewable {
            match quiet(vaultrs::token::renew_self(&current.token, None)).await {
                Ok(info) => {
                    let renewed = lease(&info, Some(lease_then.full));
                    // Close to the longest life that a token may have, a renewal gives ever less.
                    if renewed.is_some_and(|renewed| renewed.ttl * 2 >= renewed.full) {
                        let pool = self.pool.load_full();
                        let session = Session::new(&self.place, &pool, &current.secret(), renewed, current.own);
                        self.session.store(Arc::new(session));
                        return Ok(());
                    }
                }
                Err(failure) if failure.is_denied() || failure.code() == Some(400) => {}
                Err(failure) => return Err(failure),
            }
        }
        self.log_in_anew(&mut turn, &current, ended).await.map(drop)
    }

    /// Gives the token back, if it is from a login of ours.
    pub(super) async fn close(&self) {
        let mut turn = self.turn.lock().await;
        if !turn.closed {
            turn.closed = true;
            revoke(&self.session()).await;
        }
    }

    fn login_place(&self) -> String {
        self.login.engine().map(|engine| format!(" at 'auth/{}'", engine.trim_matches('/'))).unwrap_or_default()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("place", &self.place).field("login", &self.login).finish_non_exhaustive()
    }
}

async fn revoke(session: &Session) {
    if session.own {
        // A token that is left behind ends by itself.
        let revoked = quiet(vaultrs::token::revoke_self(&session.token));
        if !matches!(tokio::time::timeout(REVOKE_TIMEOUT, revoked).await, Ok(Ok(()))) {
            info!("could not revoke a Vault token; it ends by itself");
        }
    }
}

fn lease(info: &AuthInfo, full: Option<Duration>) -> Option<Lease> {
    let ttl = Duration::from_secs(info.lease_duration);
    (!ttl.is_zero()).then_some(Lease { ttl, full: full.unwrap_or(ttl), renewable: info.renewable })
}

/// The credential, from its file if it is in one.
async fn credential(credential: &Credential) -> Result<Secret, Failure> {
    let path = match credential {
        Credential::Text(secret) => return Ok(secret.clone()),
        Credential::File(path) => path,
    };
    let text = tokio::fs::read(path).await.map(Zeroizing::new).map_err(|error| {
        Failure::NoToken(format!("the credential file '{}' cannot be read ({error})", path.display()))
    })?;
    let text = str::from_utf8(&text).unwrap_or_default().trim();
    if text.is_empty() {
        return Err(Failure::NoToken(format!("the credential file '{}' is empty or no text", path.display())));
    }
    Ok(Secret::from(text.to_owned()))
}

/// A token becomes an HTTP header, which takes visible ASCII alone.
fn check_token(token: &Secret) -> Result<(), Failure> {
    if token.expose().is_empty() || !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::NoToken("the token is empty or holds characters that no token has".to_owned()));
    }
    Ok(())
}

/// A duration of 1 to 1.3 times this one: so that nodes that started together do not stay together.
pub(super) fn spread(duration: Duration) -> Duration {
    let share = u32::try_from(random() % 300).unwrap_or(0);
    duration + duration * share / 1000
}

/// Numbers that differ from node to node and from call to call; nothing secret depends on them.
pub(super) fn random() -> u64 {
    fastrand::u64(..)
}
