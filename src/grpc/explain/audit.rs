//! Administrative acts, in plain English: what was done, and by whom.

use super::Story;
use crate::domain::{ActorId, Entry, PrincipalId, Program, ProgramHistory};

/// The act that an entry is.
pub fn act(entry: &Entry, history: &ProgramHistory) -> String {
    let said = super::sentences(entry, history).into_iter().next().unwrap_or_default();
    with(said, done_by(entry.actor.as_ref(), entry.principal.as_ref()))
}

/// Whom the caller names, and who the caller is; `None`: neither is known.
pub(super) fn done_by(actor: Option<&ActorId>, principal: Option<&PrincipalId>) -> Option<String> {
    match (actor, principal) {
        (Some(actor), Some(principal)) => Some(format!("Done by {actor}; the call came with a credential of {principal}.")),
        (Some(actor), None) => Some(format!("Done by {actor}.")),
        (None, Some(principal)) => Some(format!("Done by {principal}.")),
        (None, None) => None,
    }
}

/// A sentence that ends with a reason, in somebody's words, may have no full stop.
fn with(said: String, by: Option<String>) -> String {
    let Some(by) = by else { return said };
    let stop = if said.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{said}{stop} {by}")
}

/// What publishing a version did.
pub fn published(program: &Program, replaced: &[u32], by: (Option<&ActorId>, Option<&PrincipalId>)) -> String {
    let (actor, principal) = by;
    let story = Story { program, said: Vec::new() };
    let from = match program.is_deferred() {
        true => format!("to take effect on {}", story.local(program.takes_effect())),
        false => "in effect at once".to_owned(),
    };
    let never = match replaced {
        [] => String::new(),
        [one] => format!("; version {one}, which waited, never takes effect"),
        many => {
            let numbers: Vec<String> = many.iter().map(u32::to_string).collect();
            format!("; versions {}, which waited, never take effect", numbers.join(", "))
        }
    };
    with(format!("Version {} of the rule book was published, {from}{never}.", program.version), done_by(actor, principal))
}
