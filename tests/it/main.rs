mod aws_doubles;
mod embedded_s3;
mod loopback_listener;
mod support;
