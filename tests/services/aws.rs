//! moto, which answers as AWS does. Its state is in memory: stopped is forgotten, frozen is kept.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::eventually::until_blocking;
use super::ports::four_free;

/// How long moto may take to answer.
const START: Duration = Duration::from_mins(1);

/// moto checks and writes in two steps without a lock, so that two creates at once may both succeed, which AWS rules
/// out. Here it takes one request at a time.
const ONE_AT_A_TIME: &str = "
import threading, moto.server
run, lock = moto.server.run_simple, threading.Lock()
def run_simple(host, port, app, **options):
    def one(environ, start_response):
        with lock:
            return list(app(environ, start_response))
    run(host, port, one, **options)
moto.server.run_simple = run_simple
moto.server.main()
";

/// A running moto.
#[derive(Debug)]
pub struct Moto {
    address: SocketAddr,
    process: Option<Child>,
}

impl Moto {
    /// Starts moto and waits until it answers.
    pub fn start() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, four_free()));
        let mut moto = Self { address, process: None };
        moto.start_again();
        moto
    }

    /// The URL of all of its services.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts it again after a [`Moto::stop`], on the same port, empty.
    pub fn start_again(&mut self) {
        let python = super::tools().join("python/bin/python3");
        let server = super::tools().join("python/bin/moto_server");
        assert!(server.exists(), "{} is missing; run ./setup --tests", server.display());
        let port = self.address.port().to_string();
        let mut command = Command::new(python);
        command.args(["-c", ONE_AT_A_TIME, "-H", "127.0.0.1", "-p", &port]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        let (address, process) = (self.address, self.process.as_mut().unwrap());
        until_blocking(
            START,
            || format!("moto does not answer at {address}"),
            || {
                let ended = process.try_wait().unwrap();
                assert!(ended.is_none(), "moto ended: {ended:?}; run ./setup --tests");
                TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
            },
        );
    }

    /// Kills it: connections are refused, and all secrets are gone.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops its clock: connections are taken, and nothing is answered.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after a [`Moto::freeze`], with what it had.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.process.as_ref().unwrap()), signal).unwrap();
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.stop();
    }
}
