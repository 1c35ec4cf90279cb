//! A real `PgBouncer` in transaction mode, in front of a [`Postgres`].

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::eventually::until_blocking;
use super::ports::four_free;
use super::postgres::{ADMIN, PASSWORD, Postgres};

/// A pooler with two connections to the server. It is stopped when dropped.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    child: Child,
}

impl PgBouncer {
    /// Starts one, and waits until it takes connections. Whoever asks gets in as the administrator.
    pub fn start(server: &Postgres) -> Self {
        let port = four_free();
        let config = server.directory().join(format!("pgbouncer.{port}.ini"));
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user={ADMIN} password={PASSWORD}\n[pgbouncer]\npool_mode = transaction\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\nunix_socket_dir =\ndefault_pool_size = 2\n\
             max_client_conn = 200\nserver_reset_query =\n",
            server.port()
        );
        std::fs::write(&config, text).unwrap();
        server.own(&config);
        let mut command = Command::new("/usr/sbin/pgbouncer");
        command.arg("-q").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((user, group)) = server.account() {
            command.uid(user).gid(group);
        }
        let child = command.spawn().expect("PgBouncer is not installed; run ./setup --tests");
        let is_there = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        until_blocking(Duration::from_secs(10), || "PgBouncer does not start".to_owned(), is_there);
        Self { port, child }
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
