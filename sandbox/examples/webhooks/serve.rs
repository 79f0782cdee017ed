use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bunq_partner::webhook::Peer;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower_service::Service;

/// Serves a `Receiver`, or an axum `Router` that has one.
pub(crate) async fn serve<S, B>(listener: TcpListener, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let mut http = http1::Builder::new();
    // How long the headers may take, and how long a connection may be idle. Without a timer it would not count.
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(5));
    // How much of a connection is in memory.
    http.max_buf_size(16 * 1024);
    // How many connections there are. More wait in the kernel.
    let places = Arc::new(Semaphore::new(2_000));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let Ok((stream, address)) = listener.accept().await else {
            // As when the process has too many files open.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let service = service.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer::new(address.ip()));
            service.clone().call(request)
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // A connection that is cut, or takes too long, is an error that is nobody's.
            let _ = connection.await;
            drop(place);
        });
    }
}
