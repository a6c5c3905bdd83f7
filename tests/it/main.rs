mod embedded_s3;
mod loopback_listener;
mod support;
