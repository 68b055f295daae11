//! What a quote tells beside what the purchase leads to.

use super::{
    super::{EntryKind, Hint, Member, Rejection, Sealed, accrual, accrual::Seen, fold::fold},
    Context, Decision, oldest,
};

/// What more would earn more: at most [`super::super::MAX_HINTS`], those that take least first. `before`: the member right before the purchase,
/// with all that was loaded; `decision`: what it leads to, its own entries alone.
pub fn hints(context: Context<'_>, mut before: Member, decision: &Decision) -> Result<Vec<Hint>, Rejection> {
    // As the purchase was judged: with its vouchers used and its points paid.
    for entry in &decision.entries {
        if let EntryKind::PurchaseAccrued(accrued) = &entry.kind {
            let person = before.person.as_ref().and_then(Sealed::open);
            let seen = Seen {
                member: Some(before.key.member),
                birth_date: person.and_then(|person| person.profile.birth_date),
                tallies: &context.history.tallies,
                now: context.now,
                inactivity: context.programs.newest_inactivity(),
            };
            let purchase = (&*accrued.purchase, &accrued.accrual);
            let hints = accrual::hints(context.programs, (&before.header, seen), purchase, entry.occurred_time, oldest(context));
            return hints.map_err(Rejection::from);
        }
        fold(&mut before, entry).map_err(|_| Rejection::Overflow)?;
    }
    Ok(Vec::new())
}
