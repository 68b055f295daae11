//! The service's certificate: read at the start, and again whenever its files change. New connections get the new one, those that are open
//! keep theirs; files that cannot be served with leave the old one in force.

use std::{future::Future, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    config::{
        reread::whenever_changed,
        tls::{CERTIFICATE, Loaded, TlsError, TlsFiles},
    },
    grpc::connections::CertificateInForce,
};

/// The certificate now, and the work of following its files, which does not end.
pub fn follow(files: TlsFiles, http_1: bool, every: Duration) -> Result<(CertificateInForce, impl Future<Output = ()>), TlsError> {
    // Only those that are followed already are read, so that no change is missed.
    let (changed, changes) = watch::channel(());
    let following = whenever_changed(files.paths(), every, move || changed.send_replace(()));
    let loaded = files.load(http_1)?;
    tell(&files, &loaded, "served with,");
    let (in_force, certificate) = watch::channel(loaded.server);
    let replacing = replace(files, http_1, changes, in_force);
    Ok((certificate, async move { tokio::join!(following, replacing).0 }))
}

async fn replace(files: TlsFiles, http_1: bool, mut changes: watch::Receiver<()>, in_force: watch::Sender<Arc<rustls::ServerConfig>>) {
    while changes.changed().await.is_ok() {
        let read = files.clone();
        // It is cut short only when the runtime ends.
        let Ok(loaded) = tokio::task::spawn_blocking(move || read.load(http_1)).await else { return };
        match loaded {
            Ok(loaded) => {
                tell(&files, &loaded, "changed; new connections are served with it,");
                in_force.send_replace(loaded.server);
            }
            Err(error) => tracing::error!("{error}. The certificate that was read before stays in force until the files are right"),
        }
    }
}

fn tell(files: &TlsFiles, loaded: &Loaded, how: &str) {
    let (path, validity) = (files.certificate.display(), loaded.validity);
    tracing::info!("{CERTIFICATE} {path}: {how} {validity}");
    if let Some(fault) = loaded.fault(Timestamp::now()) {
        tracing::warn!("{CERTIFICATE} {path}: {fault}");
    }
}
