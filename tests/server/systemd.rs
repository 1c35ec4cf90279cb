//! What a server reports to systemd when it is started as a unit of `Type=notify-reload` with a watchdog.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Server, Setup};

/// The next message, but for those of the watchdog.
fn next(socket: &UnixDatagram) -> String {
    loop {
        let text = receive(socket);
        if text != "WATCHDOG=1" {
            return text;
        }
    }
}

fn receive(socket: &UnixDatagram) -> String {
    let mut message = [0; 1024];
    let length = socket.recv(&mut message).expect("nothing is reported within 20 s");
    String::from_utf8_lossy(&message[..length]).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_notified_of_start_reload_stop_and_life() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let env = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut server = Server::with(Setup {
        env: vec![env("NOTIFY_SOCKET", path.to_str().unwrap()), env("WATCHDOG_USEC", "200000")],
        ..Setup::default()
    });
    assert_eq!(next(&socket), "READY=1");
    for _ in 0..5 {
        assert_eq!(receive(&socket), "WATCHDOG=1");
    }
    server.signal(Signal::HUP);
    let reloading = next(&socket);
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(next(&socket), "READY=1");
    server.signal(Signal::TERM);
    assert_eq!(next(&socket), "STOPPING=1");
    assert_eq!(server.wait().code(), Some(0));
}
