//! bucket-brigade carries log objects out of S3 buckets to a log endpoint.
