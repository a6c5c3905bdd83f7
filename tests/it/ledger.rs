//! One contract over the three ledgers.

mod contract;
#[cfg(feature = "local")]
pub mod dynamodb;
#[cfg(feature = "local")]
mod moves;
#[cfg(feature = "local")]
mod processes;
#[cfg(feature = "local")]
mod table;

/// One test for each sentence of the contract. The expression makes an empty ledger.
macro_rules! keeps_the_contract {
    ($ledger:expr) => {
        keeps_the_contract! { $ledger =>
            an_absent_row_is_granted_with_nothing_done
            a_held_row_is_busy_until_its_lease_runs_out
            a_repeated_claim_is_answered_as_the_first
            a_queued_row_is_granted_before_and_after_it_lapses
            renewing_extends_the_lease
            a_lease_that_ran_out_is_taken_over_with_its_checkpoint
            a_lost_lease_fails_every_move_and_changes_nothing
            a_lease_that_ran_out_still_holds_until_somebody_moves_the_row
            a_checkpoint_never_goes_backward
            a_repeated_checkpoint_is_no_error_and_no_progress
            accepted_ranges_survive_to_the_next_claimant
            a_restore_point_survives_as_long_as_checkpoints_say_it
            numbers_and_texts_survive_exactly
            attempts_count_claims_without_progress
            a_release_counts_the_attempt_only_if_it_blames_the_object
            a_released_row_is_queued_with_its_reason
            a_settled_row_is_done
            a_quarantined_row_is_done_and_never_forgotten
            repeating_the_last_move_is_no_error
            queueing_answers_for_every_state
            reopening_answers_for_every_state
            of_many_who_reopen_a_row_one_does
            unqueueing_lets_just_that_note_lapse
            a_settled_row_past_its_retention_counts_as_absent
            two_contents_of_one_key_are_two_rows
            a_range_lists_as_s3_does
            keys_alike_in_their_first_960_bytes_are_told_apart
            a_range_ends_at_its_bounds_and_at_its_bucket
            a_range_of_thousands_is_whole
            marks_are_read_as_written
            one_of_sixteen_claimants_wins
            moves_of_one_owner_at_once_lose_nothing
        }
    };
    ($ledger:expr => $($check:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let ledger = std::sync::Arc::new($ledger);
                super::contract::$check(ledger).await;
            }
        )+
    };
}

mod memory {
    use bucket_brigade::ledger::memory::MemoryLedger;

    keeps_the_contract!(MemoryLedger::new());
}

#[cfg(feature = "local")]
mod sqlite {
    use bucket_brigade::ledger::sqlite::SqliteLedger;

    keeps_the_contract!(SqliteLedger::in_memory().expect("open"));
}

#[cfg(feature = "local")]
mod dynamo {
    keeps_the_contract!(super::dynamodb::ledger().await);
}
