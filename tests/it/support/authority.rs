//! Certificates for tests, made as they are needed.

use std::path::{Path, PathBuf};

use loyaltyd::config::tls::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};

/// Who issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
}

/// A certificate and its key, both PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
    /// The certificate's bytes.
    pub der: Vec<u8>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(parameters, key), pem }
    }

    /// One whose own certificate has names, as a server's has: the certificate and the key.
    pub fn of(names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (parameters.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    }

    /// For names or addresses, valid for long.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(names, 4_000)
    }

    /// Valid until the end of the year before that.
    pub fn issue_until(&self, names: &[&str], year: i32) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("names");
        parameters.not_after = date_time_ymd(year, 1, 1);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        Issued { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec() }
    }

    /// The file of those who trust it.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        write(folder, name, &self.pem)
    }
}

impl Issued {
    /// Written where a service reads them.
    pub fn write(&self, folder: &Path, name: &str) -> TlsFiles {
        TlsFiles {
            certificate: write(folder, &format!("{name}.pem"), &self.certificate),
            key: write(folder, &format!("{name}.key"), &self.key),
            client_ca: None,
        }
    }
}

pub fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a file is written");
    path
}
