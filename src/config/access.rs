//! Who may call: the flags for the access file, and where the service may listen with and without it.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{ConfigError, path, reread, switch};

/// Calls of one principal in a second, unless something else is said. A chain of ten thousand tills makes a tenth of it when all of them sell
/// at once: a sale has some four calls and takes half a minute and more, and the rest is for what shops and imports send beside. What is
/// above it is a program that repeats itself without a pause, as fast as the network carries it.
const REQUESTS_PER_SECOND: u32 = 50_000;

/// Who may call
#[derive(Debug, Clone, Args)]
pub struct AccessArgs {
    /// File of who may call and what they may do (YAML): API keys, certificates, tokens, roles, programmes and limits. It is read again when
    /// it changes. Without it callers are not authenticated
    #[arg(long, env = "LOYALTYD_ACCESS", value_name = "FILE", value_parser = path())]
    pub access: Option<PathBuf>,

    /// Calls in a second of each principal whose limits in the access file say no number; of callers who are not authenticated, all of them
    /// together. More are refused with RESOURCE_EXHAUSTED; 0 is no limit
    #[arg(long, env = "LOYALTYD_REQUESTS_PER_SECOND", default_value_t = REQUESTS_PER_SECOND, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub requests_per_second: u32,

    /// Whether reflection, which says what RPCs there are, answers callers without a credential
    #[arg(long, env = "LOYALTYD_REFLECTION", value_enum, default_value = "open", value_name = "open|closed")]
    pub reflection: Openness,

    /// Whether health answers callers without a credential, as probes are
    #[arg(long, env = "LOYALTYD_HEALTH", value_enum, default_value = "open", value_name = "open|closed")]
    pub health: Openness,

    /// Serve on an address that other machines can reach, though callers are not authenticated or nothing is encrypted. A proxy before it
    /// must not forward /loyalty.v1.AdminService/, which gives away all there is, the members' keys too
    #[arg(long, env = "LOYALTYD_INSECURE", value_parser = switch)]
    pub insecure: bool,

    /// Answer AdminService, which backups are taken by, to callers on other machines too, though they are not authenticated; otherwise to those
    /// on this one alone. With --access it answers operators from anywhere
    #[arg(long, env = "LOYALTYD_ADMIN_FROM_ANYWHERE", value_parser = switch)]
    pub admin_from_anywhere: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Openness {
    /// To all.
    Open,
    /// To callers with a credential, of whatever role.
    Closed,
}

/// Who may call, checked.
#[derive(Debug, Clone)]
pub struct AccessConfig {
    /// The access file; `None`: callers are not authenticated.
    pub file: Option<PathBuf>,
    /// Of a principal whose limits say no number, and of all callers who are not authenticated; `None`: as many as they like.
    pub requests_per_second: Option<NonZeroU32>,
    pub reflection: Openness,
    pub health: Openness,
    /// AdminService answers callers on other machines too, who are not authenticated.
    pub admin_from_anywhere: bool,
    /// How often it is looked whether the file has changed.
    pub look_every: Duration,
}

impl Default for AccessConfig {
    fn default() -> Self {
        let open = Openness::Open;
        Self {
            file: None,
            requests_per_second: NonZeroU32::new(REQUESTS_PER_SECOND),
            reflection: open,
            health: open,
            admin_from_anywhere: false,
            look_every: reread::LOOK_EVERY,
        }
    }
}

impl AccessArgs {
    pub(super) fn config(&self, listen: SocketAddr, has_tls: bool, has_web: bool) -> Result<AccessConfig, ConfigError> {
        let file = self.access.clone().filter(|file| !file.as_os_str().is_empty());
        if !listen.ip().to_canonical().is_loopback() && !self.insecure {
            match (file.is_some(), has_tls) {
                (true, true) => {}
                (false, true) => return Err(ConfigError::Unauthenticated(listen)),
                (true, false) => return Err(ConfigError::Unencrypted(listen)),
                (false, false) => return Err(ConfigError::Exposed(listen)),
            }
        }
        if has_web && file.is_none() && !self.insecure {
            return Err(ConfigError::WebUnauthenticated);
        }
        if file.is_some() && self.admin_from_anywhere {
            return Err(ConfigError::AdminNeedless);
        }
        if file.is_none() {
            for (flag, openness) in [("--reflection", self.reflection), ("--health", self.health)] {
                if openness == Openness::Closed {
                    return Err(ConfigError::ClosedToAll(flag));
                }
            }
        }
        let Self { requests_per_second, reflection, health, admin_from_anywhere, access: _, insecure: _ } = *self;
        let requests_per_second = NonZeroU32::new(requests_per_second);
        Ok(AccessConfig { file, requests_per_second, reflection, health, admin_from_anywhere, ..AccessConfig::default() })
    }
}
