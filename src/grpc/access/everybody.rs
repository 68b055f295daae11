//! Callers who are not authenticated. Nothing tells one of them from another but an address, which behind the proxy that authenticates them is
//! the same for all: so they are one caller, and share what one may do in a second.

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use super::{
    complaints::{Complaints, Refused},
    principal::Rate,
};
use crate::grpc::status::Refusal;

pub struct Everybody {
    pub(super) rate: Rate,
    complaints: Complaints,
}

impl Everybody {
    pub fn new(per_second: NonZeroU32) -> Self {
        Self { rate: Rate::new(per_second), complaints: Complaints::default() }
    }

    /// They call too often; the log says so.
    pub fn too_often(&self, delay: Duration, (method, from): (&'static str, Option<SocketAddr>)) -> Refusal {
        let refusal = Refusal::everybody_rate_limited(self.rate.per_second.get(), delay);
        self.complaints.say(&refusal, &Refused { principal: None, method, from });
        refusal
    }
}
