//! Tests of the load generator against a real server that counts requests.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::certificates::Certificates;
use crate::sample::REQUESTS;

/// The number of requests for each path.
type Requests = Arc<Mutex<HashMap<String, usize>>>;

/// A server on its own thread that responds to every request with `status`.
fn server(status: StatusCode) -> (Certificates, SocketAddr, Requests) {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(directory.path()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&certificates.cert).unwrap()],
            PrivateKeyDer::from_pem_file(&certificates.key).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let requests = Requests::default();
    let counted = requests.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(connection(stream, acceptor.clone(), status, counted.clone()));
            }
        });
    });
    (certificates, address, requests)
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, status: StatusCode, requests: Requests) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        *requests.lock().unwrap().entry(request.uri().path().to_owned()).or_default() += 1;
        let mut response = Response::new(Full::new(Bytes::from_static(b"{}")));
        *response.status_mut() = status;
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let stream = TokioIo::new(stream);
    let _ = if http2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await
    } else {
        hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await
    };
}

fn load(certificates: &Certificates, address: SocketAddr, shape: Shape, resume: bool, count: u64) -> Load {
    Load {
        address,
        pid: std::process::id(),
        tls: certificates.client_config(&certificates.admin, shape.is_http2()).unwrap(),
        resume,
        shape,
        request: Request::create("k-").numbered(count).scattered(),
        end: End::Count(count),
        threads: 2,
    }
}

#[test]
fn every_name_is_requested_once_with_either_protocol() {
    for shape in [Shape::Http1(7), Shape::Http2(2, 5), Shape::Fresh(3)] {
        let (certificates, address, requests) = server(StatusCode::OK);
        let sample = load(&certificates, address, shape, false, 300).run().unwrap();
        assert_eq!(sample[REQUESTS].to_bits(), 300_f64.to_bits(), "{shape:?}");
        let requests = requests.lock().unwrap();
        assert_eq!(requests.len(), 300, "{shape:?}");
        assert!(requests.values().all(|times| *times == 1), "{shape:?}");
    }
}

#[test]
fn sessions_are_resumed_only_if_requested() {
    let (certificates, address, _) = server(StatusCode::OK);
    let resumed = load(&certificates, address, Shape::Fresh(2), true, 100).run().unwrap()[RESUMED];
    let full = load(&certificates, address, Shape::Fresh(2), false, 100).run().unwrap()[RESUMED];
    assert!(resumed > 90.0, "{resumed} % were resumed");
    assert!(full < f64::EPSILON, "{full} % were resumed");
}

#[test]
fn a_failed_response_ends_the_load() {
    let (certificates, address, _) = server(StatusCode::FORBIDDEN);
    for shape in [Shape::Http1(2), Shape::Http2(1, 2), Shape::Fresh(2)] {
        let error = load(&certificates, address, shape, false, 10).run().unwrap_err();
        assert!(format!("{error:#}").contains("status 403: {}"), "{shape:?}: {error:#}");
    }
}

#[test]
fn only_responses_within_the_measured_time_count() {
    let (certificates, address, requests) = server(StatusCode::OK);
    let time = Duration::from_millis(200);
    let load = load(&certificates, address, Shape::Http1(2), false, 1_000);
    let sample = Load { end: End::After(time, time), ..load }.run().unwrap();
    let all: usize = requests.lock().unwrap().values().sum();
    assert!(sample[REQUESTS] < float(all) * 0.9, "{} of {all}", sample[REQUESTS]);
}
