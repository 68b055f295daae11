//! Goals in plain English.

use super::{Story, allocations};
use crate::domain::{GoalChanged, GoalId, GoalPaid, GoalRefund};

impl Story<'_> {
    pub(super) fn goal_changed(mut self, changed: &GoalChanged) -> Vec<String> {
        let vouchers = match changed.vouchers.unsigned_abs() {
            1 => "1 voucher".to_owned(),
            vouchers => format!("{vouchers} vouchers"),
        };
        match (&changed.goal, changed.vouchers > 0) {
            (Some(goal), true) => {
                let name = self.goal_name(goal);
                self.say(format!("The available points reached {name}, for {vouchers}."));
            }
            (Some(goal), false) => {
                let name = self.goal_name(goal);
                self.say(format!(
                    "{vouchers} of {name} that waited will not be issued: the points are not there any more or lie in too many lots, the member was \
                     suspended, or has as many vouchers as one may have."
                ));
            }
            (None, _) => self.say(format!("{vouchers} that waited will not be issued: the rule book has no goal any more.")),
        }
        for waiting in &changed.waiting {
            let (time, count) = (self.local(waiting.due_time), waiting.vouchers);
            self.say(format!("On {time} as many as the points still cover are issued: {count} as things are."));
        }
        self.said
    }

    fn goal_name(&self, goal: &GoalId) -> String {
        match self.program.goal.as_ref().filter(|known| known.id == *goal).map(|known| known.display_name.as_str()) {
            None | Some("") => format!("goal {goal}"),
            Some(name) => format!("goal {goal} ({name})"),
        }
    }

    pub(super) fn goal_paid(&mut self, paid: &GoalPaid) {
        let (points, name) = (self.points(paid.points), self.goal_name(&paid.goal));
        let why = match (paid.waited, paid.reached_by) {
            (true, _) | (false, 0) => "after the wait that the goal asks for".to_owned(),
            (false, entry) => format!("when entry {entry} brought what was missing"),
        };
        self.say(format!("{points} points turned into it for {name}, {why}."));
        self.taken(&allocations(&paid.portions));
    }

    pub(super) fn goal_refund(&mut self, refund: &GoalRefund) {
        let points = self.points(refund.points);
        self.say(format!("The {points} points that had turned into it came back."));
        self.debt_paid(refund.debt_paid);
        self.put_back(&refund.put_back);
    }
}
