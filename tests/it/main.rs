mod embedded_s3;
mod ledger;
mod support;
