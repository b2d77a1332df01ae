//! What the oracle lets pass, and what not.

use super::*;

#[test]
fn a_crash_may_forget_the_retained_will_of_a_session_that_is_not_stored() {
    for stored in [true, false] {
        let mut oracle = Oracle::new(false, false);
        oracle.will_set(1, 7, "will/7", true, Time::default());
        oracle.will_due(1, Time::default(), stored);
        oracle.will_published(1, stored);
        let nothing = BTreeMap::new();
        assert!(oracle.check_retained(&nothing).is_err(), "it was published, and nobody died");
        oracle.crashed();
        assert_eq!(oracle.check_retained(&nothing).is_ok(), !stored);
        let there = BTreeMap::from([("will/7".to_owned(), 1)]);
        assert!(oracle.check_retained(&there).is_ok());
    }
}
