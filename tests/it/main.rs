mod delivery;
mod embedded_s3;
mod loopback_listener;
mod raw_listener;
mod sink_answers;
mod sink_contract;
mod support;
