mod delivery;
mod raw_listener;
mod sink_answers;
mod sink_contract;
