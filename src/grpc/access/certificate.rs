//! Client certificates. TLS has verified their chain by the time a call comes; here it is asked only whose they are.

use std::sync::Arc;

use http::Extensions;
use jiff::Timestamp;
use quick_cache::sync::Cache;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use super::key::{Hash, sha256};

/// What a certificate is known by. Host names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CertificateName {
    Dns(String),
    Uri(String),
    /// Of the whole certificate.
    Sha256(Hash),
}

/// The leaf that a connection was made with.
#[derive(Debug)]
pub struct PeerCertificate {
    pub names: Vec<CertificateName>,
    pub end: Timestamp,
}

/// Certificates that were seen lately, so that a connection's is read once and not with each call.
pub struct Certificates(Cache<Hash, Option<Arc<PeerCertificate>>>);

const MAX_SEEN: usize = 10_000;

impl Default for Certificates {
    fn default() -> Self {
        Self(Cache::new(MAX_SEEN))
    }
}

impl Certificates {
    /// Of the connection that a call came on; `Some(None)`: it has one that cannot be read.
    pub fn of(&self, extensions: &Extensions) -> Option<Option<Arc<PeerCertificate>>> {
        let certificates = extensions.get::<TlsConnectInfo<TcpConnectInfo>>()?.peer_certs()?;
        let leaf = certificates.first()?.as_ref();
        let hash = sha256(leaf);
        if let Some(known) = self.0.get(&hash) {
            return Some(known);
        }
        let read = read(leaf, hash).map(Arc::new);
        self.0.insert(hash, read.clone());
        Some(read)
    }
}

/// `None`: it is no certificate that can be read.
fn read(leaf: &[u8], hash: Hash) -> Option<PeerCertificate> {
    let (_, certificate) = parse_x509_certificate(leaf).ok()?;
    let mut names = vec![CertificateName::Sha256(hash)];
    if let Some(alternatives) = certificate.subject_alternative_name().ok()? {
        names.extend(alternatives.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(CertificateName::Dns(name.to_ascii_lowercase())),
            GeneralName::URI(uri) => Some(CertificateName::Uri((*uri).to_owned())),
            _ => None,
        }));
    }
    let end = Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?;
    Some(PeerCertificate { names, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_known_by_its_alternative_names_and_its_hash() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(vec!["Till-1.Example.com".to_owned()]).expect("names");
        params.subject_alt_names.push(rcgen::SanType::URI("spiffe://example.com/till".try_into().expect("a URI")));
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        // The common name is free text, and names nobody.
        params.distinguished_name.push(rcgen::DnType::CommonName, "till-2.example.com");
        let leaf = params.self_signed(&key).expect("a certificate");
        let hash = sha256(leaf.der());
        let known = read(leaf.der(), hash).expect("it is read");
        let expected = [
            CertificateName::Sha256(hash),
            CertificateName::Dns("till-1.example.com".to_owned()),
            CertificateName::Uri("spiffe://example.com/till".to_owned()),
        ];
        assert_eq!(known.names, expected);
        assert_eq!(known.end.to_string(), "2030-01-01T00:00:00Z");
        assert!(read(b"\x30\x03\x02\x01\x01", hash).is_none() && read(b"", hash).is_none());
    }
}
