//! A call that took too long.

use std::time::Duration;

use tonic::Code;

use super::Refusal;

impl Refusal {
    /// The deadline has passed. What was decided before may be on disk all the same.
    pub fn too_late(deadline: Duration) -> Self {
        let message = format!(
            "there was no answer within {} s. Whether it was done is not known: send it again with the same request_id, which does it once",
            deadline.as_secs_f64()
        );
        Self::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message)
    }

    /// A message of a request has begun, and does not end.
    pub fn message_too_late(deadline: Duration) -> Self {
        let message = format!(
            "a message of the request was not sent whole within {} s, so nothing was done with it: send it again, faster or in smaller parts",
            deadline.as_secs_f64()
        );
        Self::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message)
    }

    /// A long answer of which nothing is taken any more.
    pub fn stalled(patience: Duration) -> Self {
        let message =
            format!("nothing of the answer was taken for {} s, so it is broken off: ask again, and read on", patience.as_secs_f64());
        Self::new(Code::Aborted, "STALLED", message)
    }
}
