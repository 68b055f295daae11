//! The port that metrics are read from: plain HTTP, GET /metrics and nothing else. Whoever finds the port can hold little of the process: few
//! connections at a time, each for a bounded time and a single request.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

/// Connections that are read at a time; others wait for one of them to end.
const MAX_CONNECTIONS: usize = 8;
/// For the head of a request.
const HEAD: Duration = Duration::from_secs(5);
/// For the whole of it.
const WHOLE: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// After the system could not give a connection, for want of files.
const AFTER_FAULT: Duration = Duration::from_millis(100);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What makes the page; it may wait for a disk.
pub type Render = Arc<dyn Fn() -> Result<String, std::fmt::Error> + Send + Sync>;

/// Answers for as long as it is polled.
pub async fn serve(listener: TcpListener, render: Render) -> Infallible {
    let pages = Pages { render, turn: Arc::default() };
    let router = Router::new().route("/metrics", get(move || pages.clone().answer())).fallback(nothing_here);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { unreachable!("nobody closes the semaphore") };
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, router.clone(), permit))),
            Err(_) => sleep(AFTER_FAULT).await,
        }
    }
}

async fn connection(stream: TcpStream, router: Router, _permit: OwnedSemaphorePermit) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD_BYTES).keep_alive(false);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // Who sends what is no request, or is too slow, is cut off; there is nothing to tell.
    let _ = timeout(WHOLE, served).await;
}

async fn nothing_here() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "metrics are at /metrics\n")
}

/// One page at a time: to make several at once would not make them sooner.
#[derive(Clone)]
struct Pages {
    render: Render,
    turn: Arc<Mutex<()>>,
}

impl Pages {
    async fn answer(self) -> axum::response::Response {
        let _turn = self.turn.lock().await;
        let render = self.render;
        match tokio::task::spawn_blocking(move || render()).await {
            Ok(Ok(page)) => ([(CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
            // It is cut short only when the runtime ends.
            Ok(Err(_)) | Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response(),
        }
    }
}
