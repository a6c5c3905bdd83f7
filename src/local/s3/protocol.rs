//! The store spoken to in S3's own protocol: `s3s` parses and writes it, this answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::StatusCode;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use super::answer::{
    BodyFault, body, check_conditions, common_prefixes, contents, encoder, keys_max, length,
    metadata, permanent_redirect, quoted, received, slice_of, sorted, storage_class, timestamp,
    write_condition,
};
use super::fault::{Fault, Operation};
use super::listing::{Position, Query, url_encoded};
use super::store::{self, Refusal, WriteCondition};
use super::{EventName, Shared};
use crate::clock::{Clock, SystemClock};

/// The S3 operations over the shared store.
pub(super) struct Protocol {
    pub(super) shared: Arc<Shared>,
}

impl Protocol {
    /// Serves the fault that is due, if any: as an error, as a delay, or as one of the body.
    async fn fault(&self, operation: Operation, key: &str) -> S3Result<Option<BodyFault>> {
        let Some(fault) = self.shared.faults().take(operation, key) else {
            return Ok(None);
        };
        match fault {
            Fault::InternalError => Err(s3_error!(
                InternalError,
                "We encountered an internal error. Please try again."
            )),
            Fault::SlowDown => Err(s3_error!(SlowDown, "Please reduce your request rate.")),
            Fault::AccessDenied => Err(s3_error!(AccessDenied, "Access Denied")),
            Fault::KmsAccessDenied => Err(s3_error!(
                AccessDenied,
                "The ciphertext refers to a key that you may not use: not authorized to perform \
                 kms:Decrypt (Service: AWSKMS; Status Code: 400; Error Code: \
                 KMS.AccessDeniedException)"
            )),
            Fault::PermanentRedirect => Err(permanent_redirect()),
            Fault::BreakAfter(bytes) => Ok(Some(BodyFault::BreakAfter(bytes))),
            Fault::StallAfter(bytes) => Ok(Some(BodyFault::StallAfter(bytes))),
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                Ok(None)
            }
        }
    }

    fn object(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> S3Result<Arc<store::Object>> {
        match self.shared.store().get(bucket, key, version) {
            // Without s3:ListBucket a caller may not learn that there is nothing.
            Err(Refusal::NoSuchKey) if self.shared.hides_missing() => {
                Err(s3_error!(AccessDenied, "Access Denied"))
            }
            answer => Ok(answer?),
        }
    }
}

#[async_trait::async_trait]
impl S3 for Protocol {
    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        self.shared.counters.gets.fetch_add(1, Ordering::Relaxed);
        let fault = self.fault(Operation::Get, &input.key).await?;
        let object = self.object(&input.bucket, &input.key, input.version_id.as_deref())?;
        check_conditions(
            &object,
            input.if_match.as_ref(),
            input.if_none_match.as_ref(),
        )?;
        if object.is_archived() {
            return Err(s3_error!(
                InvalidObjectState,
                "The operation is not valid for the object's storage class"
            ));
        }
        let (start, end, content_range) = slice_of(&object, input.range.as_ref())?;
        // In memory, so both fit.
        let bytes = object.bytes.slice(start as usize..end as usize);
        let counted = match fault {
            None => end - start,
            Some(BodyFault::BreakAfter(at) | BodyFault::StallAfter(at)) => at.min(end - start),
        };
        self.shared
            .counters
            .bytes_served
            .fetch_add(counted, Ordering::Relaxed);
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(body(bytes, fault)),
            content_length: Some(length(end - start)),
            content_range,
            content_type: object.content_type.clone(),
            content_encoding: object.content_encoding.clone(),
            e_tag: quoted(&object.etag),
            last_modified: Some(timestamp(object.last_modified)),
            metadata: metadata(&object),
            storage_class: storage_class(&object),
            version_id: object.version_id.clone(),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        self.shared.counters.heads.fetch_add(1, Ordering::Relaxed);
        self.fault(Operation::Head, &input.key).await?;
        let object = self.object(&input.bucket, &input.key, input.version_id.as_deref())?;
        check_conditions(
            &object,
            input.if_match.as_ref(),
            input.if_none_match.as_ref(),
        )?;
        let (start, end, content_range) = slice_of(&object, input.range.as_ref())?;
        let mut response = S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(length(end - start)),
            content_type: object.content_type.clone(),
            content_encoding: object.content_encoding.clone(),
            e_tag: quoted(&object.etag),
            last_modified: Some(timestamp(object.last_modified)),
            metadata: metadata(&object),
            storage_class: storage_class(&object),
            version_id: object.version_id.clone(),
            ..HeadObjectOutput::default()
        });
        if content_range.is_some() {
            response.status = Some(StatusCode::PARTIAL_CONTENT);
            response.output.content_range = content_range;
        }
        Ok(response)
    }

    async fn put_object(
        &self,
        req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        self.fault(Operation::Put, &input.key).await?;
        let condition = write_condition(input.if_match, input.if_none_match.as_ref())?;
        let bytes = received(input.body).await?;
        let mut object = store::Object::new(bytes, SystemClock.now());
        if let Some(class) = input.storage_class {
            object.storage_class = class.as_str().to_owned();
        }
        object.content_type = input.content_type;
        object.content_encoding = input.content_encoding;
        object.metadata = sorted(input.metadata);
        let stored =
            self.shared
                .store_object(&input.bucket, &input.key, EventName::Put, |store| {
                    store.put(&input.bucket, &input.key, object, &condition)
                })?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: quoted(&stored.etag),
            version_id: stored.version_id.clone(),
            ..PutObjectOutput::default()
        }))
    }

    async fn copy_object(
        &self,
        req: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = req.input;
        let CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = &input.copy_source
        else {
            return Err(s3_error!(NotImplemented));
        };
        let source = self.object(bucket, key, version_id.as_deref())?;
        check_conditions(&source, input.copy_source_if_match.as_ref(), None)?;
        let mut object = store::Object::new(source.bytes.clone(), SystemClock.now());
        if let Some(class) = input.storage_class {
            object.storage_class = class.as_str().to_owned();
        }
        object.content_type.clone_from(&source.content_type);
        object.content_encoding.clone_from(&source.content_encoding);
        object.metadata.clone_from(&source.metadata);
        let stored =
            self.shared
                .store_object(&input.bucket, &input.key, EventName::Copy, |store| {
                    store.put(&input.bucket, &input.key, object, &WriteCondition::None)
                })?;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: quoted(&stored.etag),
                last_modified: Some(timestamp(stored.last_modified)),
                ..CopyObjectResult::default()
            }),
            version_id: stored.version_id.clone(),
            ..CopyObjectOutput::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        let condition = write_condition(input.if_match, None)?;
        self.shared.store().delete(
            &input.bucket,
            &input.key,
            input.version_id.as_deref(),
            &condition,
        )?;
        let mut response = S3Response::new(DeleteObjectOutput::default());
        response.status = Some(StatusCode::NO_CONTENT);
        Ok(response)
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let S3Request { input, .. } = req;
        let mut store = self.shared.store();
        let mut deleted = Vec::new();
        for object in input.delete.objects {
            store.delete(
                &input.bucket,
                &object.key,
                object.version_id.as_deref(),
                &WriteCondition::None,
            )?;
            deleted.push(DeletedObject {
                key: Some(object.key),
                version_id: object.version_id,
                ..DeletedObject::default()
            });
        }
        let quiet = input.delete.quiet == Some(true);
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: (!quiet).then_some(deleted),
            ..DeleteObjectsOutput::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        self.shared.counters.lists.fetch_add(1, Ordering::Relaxed);
        let prefix = input.prefix.clone().unwrap_or_default();
        self.fault(Operation::List, &prefix).await?;
        let keys_max = keys_max(input.max_keys)?;
        let position = match (&input.continuation_token, &input.start_after) {
            (Some(token), _) => Position::from_token(token).ok_or_else(|| {
                s3_error!(
                    InvalidArgument,
                    "The continuation token provided is incorrect"
                )
            })?,
            (None, Some(key)) => Position::AfterKey(key.clone()),
            (None, None) => Position::Start,
        };
        let encode = encoder(input.encoding_type.as_ref());
        let store = self.shared.store();
        let page = store.list(
            &input.bucket,
            &Query {
                prefix: &prefix,
                delimiter: input.delimiter.as_deref(),
                position,
                keys_max,
                order: self.shared.list_order(),
            },
        )?;
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: Some(page.key_count() as i32),
            max_keys: Some(keys_max as i32),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.as_ref().map(Position::token),
            contents: Some(contents(&page.objects, encode)),
            common_prefixes: Some(common_prefixes(&page.prefixes, encode)),
            continuation_token: input.continuation_token,
            delimiter: input.delimiter.as_deref().map(encode),
            encoding_type: input.encoding_type,
            prefix: Some(encode(&prefix)),
            start_after: input.start_after.as_deref().map(encode),
            name: Some(input.bucket),
            ..ListObjectsV2Output::default()
        }))
    }

    /// The first version of the listing, which some clients still ask for.
    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = req.input;
        self.shared.counters.lists.fetch_add(1, Ordering::Relaxed);
        let prefix = input.prefix.clone().unwrap_or_default();
        self.fault(Operation::List, &prefix).await?;
        let keys_max = keys_max(input.max_keys)?;
        let position = match (&input.marker, &input.delimiter) {
            (None, _) => Position::Start,
            (Some(marker), Some(delimiter)) if marker.ends_with(delimiter.as_str()) => {
                Position::AfterPrefix(marker.clone())
            }
            (Some(marker), _) => Position::AfterKey(marker.clone()),
        };
        let encode = encoder(input.encoding_type.as_ref());
        let store = self.shared.store();
        let page = store.list(
            &input.bucket,
            &Query {
                prefix: &prefix,
                delimiter: input.delimiter.as_deref(),
                position,
                keys_max,
                order: self.shared.list_order(),
            },
        )?;
        let next_marker = page.next.as_ref().and_then(|next| match next {
            Position::Start => None,
            Position::AfterKey(last) | Position::AfterPrefix(last) => Some(encode(last)),
        });
        Ok(S3Response::new(ListObjectsOutput {
            max_keys: Some(keys_max as i32),
            is_truncated: Some(next_marker.is_some()),
            next_marker,
            contents: Some(contents(&page.objects, encode)),
            common_prefixes: Some(common_prefixes(&page.prefixes, encode)),
            delimiter: input.delimiter.as_deref().map(encode),
            encoding_type: input.encoding_type,
            marker: input.marker.as_deref().map(encode),
            prefix: Some(encode(&prefix)),
            name: Some(input.bucket),
            ..ListObjectsOutput::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = req.input;
        // The time of initiation is what S3 later gives as the time of last modification.
        let mut template = store::Object::new(Bytes::new(), SystemClock.now());
        if let Some(class) = input.storage_class {
            template.storage_class = class.as_str().to_owned();
        }
        template.content_type = input.content_type;
        template.content_encoding = input.content_encoding;
        template.metadata = sorted(input.metadata);
        let id = self
            .shared
            .store()
            .create_upload(&input.bucket, &input.key, template)?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = req.input;
        if !(1..=10_000).contains(&input.part_number) {
            return Err(s3_error!(
                InvalidArgument,
                "Part number must be an integer between 1 and 10000, inclusive"
            ));
        }
        let bytes = received(input.body).await?;
        let mut store = self.shared.store();
        let etag = store.put_part(&input.upload_id, input.part_number, bytes)?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: quoted(&etag),
            ..UploadPartOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        let condition = write_condition(input.if_match, input.if_none_match.as_ref())?;
        let parts = input.multipart_upload.and_then(|upload| upload.parts);
        let named: Vec<(i32, Option<String>)> = parts
            .unwrap_or_default()
            .into_iter()
            .map(|part| {
                let etag = part.e_tag.map(ETag::into_value);
                (part.part_number.unwrap_or_default(), etag)
            })
            .collect();
        let stored = self.shared.store_object(
            &input.bucket,
            &input.key,
            EventName::CompleteMultipartUpload,
            |store| store.complete_upload(&input.upload_id, &named, &condition),
        )?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            e_tag: quoted(&stored.etag),
            version_id: stored.version_id.clone(),
            location: Some(format!("/{}/{}", input.bucket, url_encoded(&input.key))),
            bucket: Some(input.bucket),
            key: Some(input.key),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.shared.store().abort_upload(&req.input.upload_id)?;
        let mut response = S3Response::new(AbortMultipartUploadOutput::default());
        response.status = Some(StatusCode::NO_CONTENT);
        Ok(response)
    }

    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let bucket = req.input.bucket;
        self.shared
            .store()
            .create_bucket(&bucket, SystemClock.now())?;
        Ok(S3Response::new(CreateBucketOutput {
            location: Some(format!("/{bucket}")),
        }))
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.shared.store().delete_bucket(&req.input.bucket)?;
        let mut response = S3Response::new(DeleteBucketOutput::default());
        response.status = Some(StatusCode::NO_CONTENT);
        Ok(response)
    }

    async fn head_bucket(
        &self,
        req: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.shared.store().has_bucket(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn list_buckets(
        &self,
        _req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let store = self.shared.store();
        let buckets = store.buckets().map(|(name, created)| Bucket {
            name: Some(name.to_owned()),
            creation_date: Some(timestamp(created)),
            ..Bucket::default()
        });
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            ..ListBucketsOutput::default()
        }))
    }

    /// Every bucket is in us-east-1, whose name S3 leaves out here.
    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.shared.store().has_bucket(&req.input.bucket)?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn put_bucket_versioning(
        &self,
        req: S3Request<PutBucketVersioningInput>,
    ) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        let status = req.input.versioning_configuration.status;
        let versioned = status.is_some_and(|s| s.as_str() == BucketVersioningStatus::ENABLED);
        self.shared
            .store()
            .set_versioned(&req.input.bucket, versioned)?;
        Ok(S3Response::new(PutBucketVersioningOutput::default()))
    }

    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let versioned = self.shared.store().is_versioned(&req.input.bucket)?;
        Ok(S3Response::new(GetBucketVersioningOutput {
            status: versioned
                .then(|| BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED)),
            ..GetBucketVersioningOutput::default()
        }))
    }
}
