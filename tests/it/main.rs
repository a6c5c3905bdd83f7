mod aws_doubles;
mod embedded_s3;
mod lambda_emulator;
mod loopback_listener;
mod support;
