//! Whether a failover could lose keys: a commit is answered before an asynchronous standby has it.

use sqlx::{PgConnection, Row, raw_sql};
use tracing::{debug, warn};

use super::failure::Place;

/// Standbys that receive the log now, and whether a commit waits for one. Every role may count them; what they are is
/// hidden from most (the columns are NULL then), so that only the settings decide. Not counted are base backups and
/// subscribers of logical replication.
/// Source: <https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-REPLICATION-VIEW>
const LOOK_UP: &str = "SELECT current_setting('synchronous_standby_names'), current_setting('synchronous_commit'), \
     (SELECT count(*) FROM pg_stat_replication r WHERE r.state IS DISTINCT FROM 'backup' AND NOT EXISTS \
         (SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical'))";

/// Warns if the server has standbys that acknowledged keys may be absent from.
pub(super) async fn warn_if_asynchronous(connection: &mut PgConnection, place: &Place) {
    let row = match raw_sql(LOOK_UP).fetch_one(connection).await {
        Ok(row) => row,
        // A role that may not know does not need to.
        Err(error) => return debug!(%error, "cannot look up the standbys of PostgreSQL"),
    };
    let text = |index: usize| row.try_get::<String, _>(index).unwrap_or_default();
    let (names, commit, standbys) = (text(0), text(1), row.try_get::<i64, _>(2).unwrap_or(0));
    if let Some(reason) = reason(&names, &commit, standbys) {
        let Place { database, .. } = place;
        warn!(
            standbys,
            "PostgreSQL {database} has standbys, and {reason}: a failover may lose keys that were reported as created, \
             and data encrypted under them"
        );
    }
}

/// Why a commit may be answered before a standby has it, and what to do.
fn reason(names: &str, commit: &str, standbys: i64) -> Option<&'static str> {
    if standbys == 0 {
        None
    } else if names.trim().is_empty() {
        Some("none is synchronous; set synchronous_standby_names, for example to 'ANY 1 (*)'")
    } else {
        match commit {
            "local" => Some("synchronous_commit = local does not wait for them; set it to on"),
            "remote_write" => Some("synchronous_commit = remote_write waits for their memory only; set it to on"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_standbys_that_a_commit_does_not_wait_for_are_a_reason() {
        assert_eq!(reason("", "on", 0), None);
        assert!(reason("", "on", 1).unwrap().contains("synchronous_standby_names"));
        for commit in ["on", "remote_apply", "off"] {
            assert_eq!(reason("ANY 1 (*)", commit, 1), None, "{commit}: a create commits with at least 'on'");
        }
        for commit in ["local", "remote_write"] {
            assert!(reason("ANY 1 (*)", commit, 1).unwrap().contains(commit));
        }
    }
}
