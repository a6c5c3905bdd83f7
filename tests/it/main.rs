mod embedded_s3;
mod support;
