//! Members that become one, in plain English.

use super::{MAX_STEPS, Story};
use crate::domain::{MergedFrom, MergedInto, Points};

impl Story<'_> {
    pub(super) fn merged_into(mut self, gone: &MergedInto) -> Vec<String> {
        let into = gone.into;
        self.say(format!("The member became a part of member {into}, with all it had. Reason: {}.", gone.reason.trim_end_matches('.')));
        self.taken(&gone.allocations);
        let pending = Points(gone.pending.iter().map(|taken| taken.points.0).sum());
        for (points, what) in [(pending, "pending points went with it"), (gone.debt, "points that were owed went with it")] {
            if points > Points::ZERO {
                let points = self.points(points);
                self.say(format!("{points} {what}."));
            }
        }
        self.said
    }

    pub(super) fn merged_from(mut self, got: &MergedFrom) -> Vec<String> {
        let (from, reason) = (got.from, got.reason.trim_end_matches('.'));
        self.say(format!("Member {from} became a part of this one, with its entry {}. Reason: {reason}.", got.sequence));
        for portion in got.lots.iter().take(MAX_STEPS) {
            let (points, id) = (self.points(portion.points), portion.lot.id().0);
            let valid = self.valid(portion.lot.expiry());
            self.say(format!("{points} points of its lot {} are in lot {id}, {valid}.", id - got.lots_before()));
        }
        if got.lots.len() > MAX_STEPS {
            self.say(format!("{} more lots are in the entry.", got.lots.len() - MAX_STEPS));
        }
        let pending = Points(got.pending.iter().map(|lot| lot.remaining.0).sum());
        let paid = Points(got.allocations.iter().map(|taken| taken.points.0).sum());
        let rest = [
            (pending, "pending points came with it"),
            (got.debt_paid, "of the points paid what this member owed"),
            (paid, "points were taken for what the other member owed"),
            (got.debt, "points that the other member owed are owed from here on"),
        ];
        for (points, what) in rest.into_iter().filter(|(points, _)| *points > Points::ZERO) {
            let points = self.points(points);
            self.say(format!("{points} {what}."));
        }
        self.taken(&got.allocations);
        if !got.vouchers.is_empty() {
            self.say(format!("{} vouchers came with it, under the codes that they have.", got.vouchers.len()));
        }
        self.said
    }
}
