//! A TCP proxy that causes the faults of networks: in front of any service, switched while it runs.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::eventually::eventually;

/// What the proxy does. Open connections follow a change at once, but for [`Mode::Refuse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on.
    Pass,
    /// New connections are refused. Those that are open pass on; [`Proxy::cut_all`] ends them.
    Refuse,
    /// Takes connections and bytes, and never passes anything on.
    BlackHole,
    /// Passes on every piece of an answer that much later.
    Delay(Duration),
    /// Passes on so many bytes of the next answers, on whichever connection, then resets that connection and goes
    /// back to passing. Zero: the request arrives, and the answer is lost.
    CutAfter(usize),
}

/// A running proxy. It ends when dropped, with all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    cut: watch::Sender<u64>,
    task: Option<JoinHandle<()>>,
    upstream: watch::Sender<SocketAddr>,
}

impl Proxy {
    /// Starts on a free loopback port, in front of `upstream`, in [`Mode::Pass`].
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut proxy = Self {
            address: listener.local_addr().unwrap(),
            mode: watch::Sender::new(Mode::Pass),
            cut: watch::Sender::new(0),
            task: None,
            upstream: watch::Sender::new(upstream),
        };
        proxy.accept_on(listener);
        proxy
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port of [`Self::address`].
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Switches to another mode.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// The mode as it is: [`Mode::CutAfter`] has become [`Mode::Pass`] once it has cut.
    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    /// Leads new connections elsewhere, as a name does after a failover.
    pub fn lead_to(&self, upstream: SocketAddr) {
        self.upstream.send_replace(upstream);
    }

    /// Resets every open connection now.
    pub fn cut_all(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    fn accept_on(&mut self, listener: TcpListener) {
        let (mode, cut, upstream, address) = (self.mode.clone(), self.cut.clone(), self.upstream.clone(), self.address);
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            let mut listener = Some(listener);
            let mut modes = mode.subscribe();
            loop {
                // A closed listener is what makes the system refuse.
                if *modes.borrow_and_update() == Mode::Refuse {
                    listener = None;
                } else if listener.is_none() {
                    listener = Some(bind(address).await);
                }
                tokio::select! {
                    changed = modes.changed() => if changed.is_err() { return },
                    accepted = accept(listener.as_ref()) => {
                        if let Ok((client, _)) = accepted {
                            connections.spawn(carry(client, *upstream.borrow(), mode.clone(), cut.subscribe()));
                        }
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        }));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn bind(address: SocketAddr) -> TcpListener {
    eventually(
        Duration::from_mins(1),
        || format!("{address} does not get free"),
        async || {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(address).ok().map(|()| socket.listen(128).unwrap())
        },
    )
    .await
}

/// One connection, until one side ends it or it is cut.
async fn carry(client: TcpStream, upstream: SocketAddr, mode: watch::Sender<Mode>, mut cut: watch::Receiver<u64>) {
    let _ = client.set_nodelay(true);
    let mut server = None;
    let ended = tokio::select! {
        ended = pump(&client, &mut server, upstream, &mode) => ended,
        _ = cut.changed() => End::Reset,
    };
    if ended == End::Reset {
        // No lingering: what is closed now is reset, not ended.
        let _ = client.set_zero_linger();
    }
}

#[derive(PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

async fn pump(
    client: &TcpStream,
    server: &mut Option<TcpStream>,
    upstream: SocketAddr,
    mode: &watch::Sender<Mode>,
) -> End {
    // A black hole takes the connection without there being anybody behind.
    passable(mode).await;
    let Ok(connected) = TcpStream::connect(upstream).await else { return End::Reset };
    let _ = connected.set_nodelay(true);
    let server = &*server.insert(connected);
    let requests = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(count @ 1..) = read(client, &mut buffer).await else { return End::Closed };
            passable(mode).await;
            if write(server, &buffer[..count]).await.is_err() {
                return End::Reset;
            }
        }
    };
    let answers = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = match read(server, &mut buffer).await {
                Ok(0) => return End::Closed,
                Ok(count) => count,
                Err(_) => return End::Reset,
            };
            passable(mode).await;
            let now = *mode.borrow();
            if let Mode::Delay(delay) = now {
                tokio::time::sleep(delay).await;
            }
            let mut pass = count;
            let mut is_cut = false;
            mode.send_if_modified(|mode| {
                if let Mode::CutAfter(left) = mode {
                    if *left < count {
                        (pass, is_cut) = (*left, true);
                        *mode = Mode::Pass;
                    } else {
                        *left -= count;
                    }
                }
                is_cut
            });
            if write(client, &buffer[..pass]).await.is_err() || is_cut {
                return End::Reset;
            }
        }
    };
    tokio::select! {
        end = requests => end,
        end = answers => end,
    }
}

/// Waits for as long as the proxy is a black hole.
async fn passable(mode: &watch::Sender<Mode>) {
    let _ = mode.subscribe().wait_for(|mode| *mode != Mode::BlackHole).await;
}

async fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

async fn write(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => bytes = &bytes[done?..],
        }
    }
    Ok(())
}
