//! How a server is reached: its address, what it is trusted by, and what the caller shows. Every subcommand that talks to a server connects
//! through here.

use std::{
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Uri};
use hyper_rustls::ConfigBuilderExt as _;
use hyper_util::rt::TokioIo;
use rustls::{AlertDescription, CertificateError, ClientConfig, InvalidMessage};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::{
    Request, Status,
    codegen::{BoxFuture, Service},
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::{CONNECT_TIMEOUT, KEEP_ALIVE, chain};
use crate::{
    cli::CliError,
    config::{
        self,
        tls::{self, TlsError},
    },
};

/// What a key file may hold: a JWT of an issuer with many claims fits.
const MAX_KEY_BYTES: u64 = 16 << 10;

/// Which server.
#[derive(Debug, Clone, clap::Args)]
pub struct ServerArgs {
    /// The running server: host:port, http://host:port, or https://host:port for TLS
    #[arg(long, value_name = "ADDRESS", env = "LOYALTYD_SERVER", default_value = "127.0.0.1:50051")]
    pub server: String,
    #[command(flatten)]
    pub how: ReachArgs,
}

/// What a server is trusted by, and what it is shown.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ReachArgs {
    /// With https://: the authorities (PEM) that the server's certificate has to be of [default: those that the system trusts]
    #[arg(long, value_name = "FILE", env = "LOYALTYD_CA", value_parser = config::path())]
    pub ca: Option<PathBuf>,
    /// With https://: the name in the server's certificate, if it is not the one in the address
    #[arg(long, value_name = "NAME", env = "LOYALTYD_SERVER_NAME")]
    pub server_name: Option<String>,
    /// With https://: a certificate (PEM) to show to the server
    #[arg(long, value_name = "FILE", env = "LOYALTYD_CLIENT_CERT", value_parser = config::path())]
    pub client_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", env = "LOYALTYD_CLIENT_KEY", value_parser = config::path())]
    pub client_key: Option<PathBuf>,
    /// File with the API key, or another token, that the server asks for
    #[arg(long, value_name = "FILE", env = "LOYALTYD_API_KEY_FILE", value_parser = config::path())]
    pub api_key_file: Option<PathBuf>,
    /// Send the API key to another machine without TLS, where it can be read on the way
    #[arg(long)]
    pub insecure: bool,
}

/// A channel whose calls show who calls.
pub type ApiChannel = InterceptedService<Channel, Credential>;

/// What calls show: `authorization: Bearer …`, or nothing.
#[derive(Clone, Default)]
pub struct Credential(Option<MetadataValue<Ascii>>);

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl Credential {
    pub fn header(&self) -> Option<HeaderValue> {
        self.0.as_ref().and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok())
    }
}

/// A server that can be connected to: everything about it has been checked.
#[derive(Clone)]
pub struct Reach {
    /// As it was named.
    named: String,
    address: Uri,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub credential: Credential,
}

/// A connection, plain or encrypted.
pub type Stream = Box<dyn Duplex>;

pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl ServerArgs {
    /// A channel that connects when it is first used and again whenever the connection breaks.
    pub fn channel(&self) -> Result<ApiChannel, CliError> {
        let reach = Reach::of(self)?;
        let channel = reach.endpoint().connect_with_connector_lazy(reach.clone());
        Ok(InterceptedService::new(channel, reach.credential))
    }

    /// A connected channel.
    pub async fn connect(&self) -> Result<ApiChannel, CliError> {
        let reach = Reach::of(self)?;
        let channel = reach.endpoint().connect_with_connector(reach.clone()).await.map_err(|error| reach.failed(&error))?;
        Ok(InterceptedService::new(channel, reach.credential))
    }
}

impl Reach {
    pub fn of(args: &ServerArgs) -> Result<Self, CliError> {
        let named = args.server.clone();
        let wrong =
            || CliError::Usage(format!("--server: {named} is not an address such as 127.0.0.1:50051 or https://loyalty.example.com:50051"));
        let text = if named.contains("://") { named.clone() } else { format!("http://{named}") };
        let address: Uri = text.parse().map_err(|_| wrong())?;
        let host = address.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        // A port that is none, a user, or what would be a path.
        let authority = address.authority().map_or("", http::uri::Authority::as_str);
        let whole = address.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        if authority != whole || address.path() != "/" || address.query().is_some() {
            return Err(wrong());
        }
        let encrypted = match address.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err(wrong()),
        };
        let how = &args.how;
        let credential = how.credential()?;
        if credential.0.is_some() && !encrypted && !is_loopback(host) && !how.insecure {
            return Err(CliError::Usage(format!(
                "--api-key-file: the key would be sent to {named} unencrypted, where it can be read on the way: name the server with https://, \
                 or give --insecure"
            )));
        }
        let tls = if encrypted { Some((how.tls_config()?, how.name(host)?)) } else { how.refuse_without_tls().map(|()| None)? };
        Ok(Self { named, address, tls, credential })
    }

    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    fn endpoint(&self) -> Endpoint {
        let authority = self.address.authority().map_or("", http::uri::Authority::as_str);
        let plain = Endpoint::from_shared(format!("http://{authority}")).expect("an address that was parsed");
        let scheme = if self.is_encrypted() { "https" } else { "http" };
        // What requests are told to be for; connecting is done by `Reach`, whatever this says.
        let origin = format!("{scheme}://{authority}").parse().expect("an address that was parsed");
        plain
            .origin(origin)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
    }

    /// A connection on which HTTP/2 can begin.
    pub async fn connect(&self) -> io::Result<Stream> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
        timeout(CONNECT_TIMEOUT, self.connect_in_time()).await.map_err(late)?
    }

    async fn connect_in_time(&self) -> io::Result<Stream> {
        let host = self.address.host().unwrap_or_default().trim_matches(['[', ']']);
        let usual = if self.tls.is_some() { 443 } else { 80 };
        let socket = TcpStream::connect((host, self.address.port_u16().unwrap_or(usual))).await?;
        socket.set_nodelay(true)?;
        let Some((config, name)) = &self.tls else { return Ok(Box::new(socket)) };
        let stream = TlsConnector::from(Arc::clone(config)).connect(name.clone(), socket).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("it speaks TLS, but not HTTP/2: is it another service, or a proxy that does not pass on gRPC?"));
        }
        Ok(Box::new(stream))
    }

    /// Why there is no connection, and what to do about it.
    pub fn failed(&self, error: &(dyn std::error::Error + 'static)) -> CliError {
        let server = &self.named;
        let told = chain(error);
        CliError::Failed(match advice(error) {
            Some(advice) => format!("no secure connection to {server} ({told}). {advice}"),
            None if self.is_encrypted() => format!("no server answers at {server} ({told}). Is it there, and does its port speak TLS?"),
            None => format!(
                "no server answers at {server} ({told}). Start one with `loyaltyd serve`, or name it with --server; one with TLS as https://…"
            ),
        })
    }
}

impl Service<Uri> for Reach {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = BoxFuture<TokioIo<Stream>, io::Error>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _address: Uri) -> Self::Future {
        let reach = self.clone();
        Box::pin(async move { reach.connect().await.map(TokioIo::new) })
    }
}

impl ReachArgs {
    fn credential(&self) -> Result<Credential, CliError> {
        let Some(path) = given(&self.api_key_file) else { return Ok(Credential::default()) };
        let wrong = |why: &dyn fmt::Display| CliError::Usage(format!("--api-key-file {}: {why}", path.display()));
        let length = fs::metadata(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?.len();
        if length > MAX_KEY_BYTES {
            return Err(wrong(&"is too large for a file with a key and nothing else"));
        }
        let text = fs::read_to_string(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        let key = text.trim();
        if key.is_empty() {
            return Err(wrong(&"is empty: it has the key and nothing else"));
        }
        let is_one_word = key.bytes().all(|byte| byte.is_ascii_graphic());
        let value = MetadataValue::try_from(format!("Bearer {key}")).ok().filter(|_| is_one_word);
        value.map(|value| Credential(Some(value))).ok_or_else(|| wrong(&"has more than one word or line: it has the key and nothing else"))
    }

    fn tls_config(&self) -> Result<Arc<ClientConfig>, CliError> {
        let usage = |error: TlsError| CliError::Usage(error.to_string());
        let builder = ClientConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("the provider has the suites of TLS 1.2 and 1.3");
        let builder = match given(&self.ca) {
            Some(path) => builder.with_root_certificates(tls::roots("--ca", path).map_err(usage)?),
            None => builder.with_native_roots().map_err(|error| {
                CliError::Usage(format!("this system has no authorities that it trusts ({error}): name those of the server with --ca FILE"))
            })?,
        };
        let mut config = match (given(&self.client_cert), given(&self.client_key)) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let certificates = tls::certificates("--client-cert", certificate).map_err(usage)?;
                let private = tls::private_key("--client-key", key).map_err(usage)?;
                builder.with_client_auth_cert(certificates, private).map_err(|error| {
                    let (key, certificate) = (key.display(), certificate.display());
                    CliError::Usage(format!("--client-key {key}: is not the key of {certificate}, or not one that can be used ({error})"))
                })?
            }
            (Some(_), None) => return Err(CliError::Usage("--client-cert needs its key too: give --client-key".into())),
            (None, Some(_)) => return Err(CliError::Usage("--client-key needs the certificate too: give --client-cert".into())),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    fn name(&self, host: &str) -> Result<ServerName<'static>, CliError> {
        let name = self.server_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(host.trim_matches(['[', ']']));
        let wrong = |_| CliError::Usage(format!("--server-name: {name} is neither a name such as loyalty.example.com nor an address"));
        ServerName::try_from(name.to_owned()).map_err(wrong)
    }

    /// What was said about TLS was meant for a server that has it. What the environment says may be meant for others.
    fn refuse_without_tls(&self) -> Result<(), CliError> {
        if given(&self.client_cert).is_some() || given(&self.ca).is_some() {
            return Err(CliError::Usage("--ca and --client-cert are for servers with TLS: name the server with https://".into()));
        }
        Ok(())
    }
}

/// An empty path, as an empty variable gives it, is none.
fn given(path: &Option<PathBuf>) -> Option<&Path> {
    path.as_deref().filter(|path| !path.as_os_str().is_empty())
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// What to do when TLS failed.
pub fn advice(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        // An io::Error hides what it was made of from `source`.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()).or_else(|| error.downcast_ref());
        if let Some(tls) = tls {
            return advice_on(tls);
        }
        next = inner.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    None
}

fn advice_on(error: &rustls::Error) -> Option<&'static str> {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage as Message};
    Some(match error {
        InvalidCertificate(CertificateError::UnknownIssuer) => {
            "Its certificate is of an authority that is not trusted here: name that with --ca FILE"
        }
        InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            "Its certificate is for another name: name the server with --server as its certificate does, or say with --server-name what is in it"
        }
        InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "Its certificate has expired (or this machine's clock is wrong): the server needs a new one"
        }
        InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "Its certificate is not valid yet: is this machine's clock right?"
        }
        InvalidCertificate(CertificateError::Other(other)) if other.0.to_string().contains("CaUsedAsEndEntity") => {
            "Its certificate is an authority's own (CA:TRUE): the server needs one that is made with basicConstraints=CA:FALSE"
        }
        InvalidCertificate(_) => {
            "Its certificate cannot be trusted: name its authority with --ca FILE, or look at it with `openssl s_client -connect HOST:PORT`"
        }
        Message(InvalidMessage::InvalidContentType) => "It does not speak TLS: name it with http://, if nobody can listen on the way",
        AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate,
        ) => "The server refuses the certificate of --client-cert: it takes those of its --tls-client-ca that have not expired",
        _ => return None,
    })
}
