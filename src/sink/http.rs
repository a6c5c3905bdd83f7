//! Any receiver of NDJSON or lines over POST.
