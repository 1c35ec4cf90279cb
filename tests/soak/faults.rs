//! What happens to the stores.

use std::time::Duration;

use crate::services::postgres::Postgres;
use crate::services::proxy::{Mode, Proxy};
use crate::services::vault::Server as Vault;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process is gone, its address refuses.
    Stopped,
    /// The process is there and does nothing.
    Frozen,
    /// Answers come half a second late.
    Slow,
    /// The process is stopped and started again at once.
    Restarted,
    /// All connections are reset, once.
    Cut,
    /// What the gateways are logged in with is taken from them, again and again.
    Revoked,
}

/// All of them.
pub const FAULTS: [Fault; 6] =
    [Fault::Stopped, Fault::Frozen, Fault::Slow, Fault::Restarted, Fault::Cut, Fault::Revoked];

/// A store that things happen to.
pub enum Backend {
    Postgres(Postgres),
    OpenBao(Vault),
}

impl Backend {
    /// Lets it happen.
    pub async fn begin(&mut self, fault: Fault, proxy: &Proxy) {
        match (fault, self) {
            (Fault::Stopped, Self::Postgres(postgres)) => postgres.stop(),
            (Fault::Stopped, Self::OpenBao(openbao)) => openbao.stop(),
            (Fault::Frozen, Self::Postgres(postgres)) => postgres.freeze(),
            (Fault::Frozen, Self::OpenBao(openbao)) => openbao.freeze(),
            (Fault::Slow, _) => proxy.set(Mode::Delay(Duration::from_millis(500))),
            (Fault::Restarted, Self::Postgres(postgres)) => {
                postgres.crash();
                postgres.resume();
            }
            (Fault::Restarted, Self::OpenBao(openbao)) => openbao.restart().await,
            (Fault::Cut, _) => proxy.cut_all(),
            (Fault::Revoked, Self::Postgres(postgres)) => {
                let all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
                           AND backend_type = 'client backend'";
                postgres.sql("postgres", all);
            }
            (Fault::Revoked, Self::OpenBao(openbao)) => drop(openbao.revoke_all()),
        }
    }

    /// Ends it.
    pub async fn end(&mut self, fault: Fault, proxy: &Proxy) {
        match (fault, self) {
            (Fault::Stopped, Self::Postgres(postgres)) => postgres.resume(),
            (Fault::Stopped, Self::OpenBao(openbao)) => openbao.restart().await,
            (Fault::Frozen, Self::Postgres(postgres)) => postgres.thaw(),
            (Fault::Frozen, Self::OpenBao(openbao)) => openbao.thaw(),
            (Fault::Slow, _) => proxy.set(Mode::Pass),
            (Fault::Restarted | Fault::Cut | Fault::Revoked, _) => {}
        }
    }
}
