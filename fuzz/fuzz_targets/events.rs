//! Any bytes as a payload: nothing panics, and nothing that comes out could not be carried.

#![no_main]

use bucket_brigade::event::{Found, Trigger};
use bucket_brigade::object::WorkItem;
use libfuzzer_sys::fuzz_target;

fn check(found: &Found) {
    for item in &found.items {
        assert!(!item.bucket.is_empty() && (1..=1_024).contains(&item.key.len()));
        let text = serde_json::to_vec(item).expect("an item is JSON");
        let again: WorkItem = serde_json::from_slice(&text).expect("and is read again");
        assert_eq!(again, *item);
    }
    for error in &found.malformed {
        assert!(!error.to_string().is_empty());
    }
}

fuzz_target!(|payload: &[u8]| {
    match Trigger::parse(payload) {
        Ok(Trigger::Direct(found)) => check(&found),
        Ok(Trigger::Queue(messages)) => {
            for message in &messages {
                assert!(!message.id.to_string().is_empty() && !message.receipt.is_empty());
                if let Ok(found) = &message.body {
                    check(found);
                }
                let _ = message.burial();
            }
        }
        Ok(Trigger::Reconcile(_) | Trigger::Replay(_)) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
