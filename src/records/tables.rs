//! The delimited texts that AWS writes to S3: how their rows stand, what their columns are called, and
//! which of them are numbers by AWS's own documents.
//!
//! A producer may add columns at the end of a row; they get numbers for names. Times stay as they stand.

use super::rows::{Delimiter, Dialect, Header, Quoting, RowFormat};

/// The fields of VPC flow logs where nothing else is asked for: Amazon VPC User Guide, "Flow log records", version 2.
pub const VPC_FLOW_DEFAULT: [&str; 14] = [
    "version",
    "account-id",
    "interface-id",
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "protocol",
    "packets",
    "bytes",
    "start",
    "end",
    "action",
    "log-status",
];

/// VPC flow logs without their header, of the default fields, as they stand where they came by CloudWatch Logs.
pub fn vpc_flow_rows() -> RowFormat {
    RowFormat {
        header: given(&VPC_FLOW_DEFAULT),
        ..vpc_flow()
    }
}

/// VPC flow logs: Amazon VPC User Guide, "Flow log records". The order of the columns is the customer's,
/// named by the first line of every object. Numbers are those whose Parquet type there is an integer.
pub fn vpc_flow() -> RowFormat {
    RowFormat {
        dialect: Dialect {
            quoting: Quoting::None,
            ..Dialect::LOG
        },
        header: Header::FirstLine,
        numbers: owned(&[
            "version",
            "srcport",
            "dstport",
            "protocol",
            "packets",
            "bytes",
            "start",
            "end",
            "tcp-flags",
            "traffic-path",
        ]),
    }
}

/// Flow logs of Global Accelerator: AWS Global Accelerator Developer Guide, "Flow log record syntax";
/// numbers as in the Amazon Athena User Guide, "Query AWS Global Accelerator flow logs". The first line of
/// every object names the columns, in older ones the accelerator's address and port as `gip` and `gip_port`.
pub fn global_accelerator() -> RowFormat {
    RowFormat {
        numbers: owned(&[
            "client_port",
            "gip_port",
            "accelerator_port",
            "endpoint_port",
            "packets",
            "bytes",
            "start_time",
            "end_time",
            "globalaccelerator_source_port",
        ]),
        ..vpc_flow()
    }
}

/// Standard logs of CloudFront: Amazon CloudFront Developer Guide, "Standard logging reference"; numbers as
/// in the Amazon Athena User Guide, "Create a table for CloudFront standard logs (legacy)". Tabs stand
/// between the values though blanks stand between the names. Values are URL-encoded and stay so.
pub fn cloudfront() -> RowFormat {
    RowFormat {
        dialect: Dialect {
            quoting: Quoting::None,
            ..Dialect::TSV
        },
        header: Header::Directive,
        numbers: owned(&[
            "sc-bytes",
            "sc-status",
            "cs-bytes",
            "time-taken",
            "fle-encrypted-fields",
            "c-port",
            "time-to-first-byte",
            "sc-content-len",
            "sc-range-start",
            "sc-range-end",
        ]),
    }
}

/// Any text in the W3C extended log file format whose values stand between blanks. None is a number, since
/// its document leaves that to the names.
pub fn w3c() -> RowFormat {
    RowFormat {
        dialect: Dialect::LOG,
        header: Header::Directive,
        numbers: Vec::new(),
    }
}

/// Access logs of an Application Load Balancer: its User Guide, "Access log entries"; numbers as in the
/// Amazon Athena User Guide, "Create the table for ALB access logs".
pub fn alb() -> RowFormat {
    RowFormat {
        dialect: Dialect::LOG,
        header: given(&[
            "type",
            "time",
            "elb",
            "client:port",
            "target:port",
            "request_processing_time",
            "target_processing_time",
            "response_processing_time",
            "elb_status_code",
            "target_status_code",
            "received_bytes",
            "sent_bytes",
            "request",
            "user_agent",
            "ssl_cipher",
            "ssl_protocol",
            "target_group_arn",
            "trace_id",
            "domain_name",
            "chosen_cert_arn",
            "matched_rule_priority",
            "request_creation_time",
            "actions_executed",
            "redirect_url",
            "error_reason",
            "target:port_list",
            "target_status_code_list",
            "classification",
            "classification_reason",
            "conn_trace_id",
            "transformed_host",
            "transformed_uri",
            "request_transform_status",
        ]),
        numbers: owned(&[
            "request_processing_time",
            "target_processing_time",
            "response_processing_time",
            "elb_status_code",
            "received_bytes",
            "sent_bytes",
        ]),
    }
}

/// Connection logs of an Application Load Balancer: its User Guide, "Connection log entries"; numbers as in
/// the Amazon Athena User Guide, "Create the table for ALB connection logs".
pub fn alb_connection() -> RowFormat {
    RowFormat {
        dialect: Dialect::LOG,
        header: given(&[
            "timestamp",
            "client_ip",
            "client_port",
            "listener_port",
            "tls_protocol",
            "tls_cipher",
            "tls_handshake_latency",
            "leaf_client_cert_subject",
            "leaf_client_cert_validity",
            "leaf_client_cert_serial_number",
            "tls_verify_status",
            "conn_trace_id",
        ]),
        numbers: owned(&["client_port", "listener_port", "tls_handshake_latency"]),
    }
}

/// Access logs of a Network Load Balancer: its User Guide, "Access log entries"; numbers as in the Amazon
/// Athena User Guide, "Query Network Load Balancer logs". Quotes in them are part of a list, not around a
/// value: `"h2","http/1.1"`.
pub fn nlb() -> RowFormat {
    RowFormat {
        dialect: Dialect {
            quoting: Quoting::None,
            ..Dialect::LOG
        },
        header: given(&[
            "type",
            "version",
            "time",
            "elb",
            "listener",
            "client:port",
            "destination:port",
            "connection_time",
            "tls_handshake_time",
            "received_bytes",
            "sent_bytes",
            "incoming_tls_alert",
            "chosen_cert_arn",
            "chosen_cert_serial",
            "tls_cipher",
            "tls_protocol_version",
            "tls_named_group",
            "domain_name",
            "alpn_fe_protocol",
            "alpn_be_protocol",
            "alpn_client_preference_list",
            "tls_connection_creation_time",
        ]),
        numbers: owned(&[
            "connection_time",
            "tls_handshake_time",
            "received_bytes",
            "sent_bytes",
            "incoming_tls_alert",
        ]),
    }
}

/// Access logs of a Classic Load Balancer: its User Guide, "Access log entries"; numbers as for an
/// Application Load Balancer.
pub fn clb() -> RowFormat {
    RowFormat {
        dialect: Dialect::LOG,
        header: given(&[
            "timestamp",
            "elb",
            "client:port",
            "backend:port",
            "request_processing_time",
            "backend_processing_time",
            "response_processing_time",
            "elb_status_code",
            "backend_status_code",
            "received_bytes",
            "sent_bytes",
            "request",
            "user_agent",
            "ssl_cipher",
            "ssl_protocol",
        ]),
        numbers: owned(&[
            "request_processing_time",
            "backend_processing_time",
            "response_processing_time",
            "elb_status_code",
            "received_bytes",
            "sent_bytes",
        ]),
    }
}

/// S3 server access logs: Amazon S3 User Guide, "Amazon S3 server access log format"; its names in lower
/// case with underscores. Numbers are the status, sizes and durations. The time stands in brackets, which
/// are no part of it.
pub fn s3_access() -> RowFormat {
    RowFormat {
        dialect: Dialect {
            brackets: true,
            ..Dialect::LOG
        },
        header: given(&[
            "bucket_owner",
            "bucket",
            "time",
            "remote_ip",
            "requester",
            "request_id",
            "operation",
            "key",
            "request_uri",
            "http_status",
            "error_code",
            "bytes_sent",
            "object_size",
            "total_time",
            "turn_around_time",
            "referer",
            "user_agent",
            "version_id",
            "host_id",
            "signature_version",
            "cipher_suite",
            "authentication_type",
            "host_header",
            "tls_version",
            "access_point_arn",
            "acl_required",
            "source_region",
        ]),
        numbers: owned(&[
            "http_status",
            "bytes_sent",
            "object_size",
            "total_time",
            "turn_around_time",
        ]),
    }
}

/// Connection logs of Redshift: Amazon Redshift Management Guide, "Database audit logging". Values are padded with
/// blanks, which stay. Numbers are the port, the process and what is counted.
pub fn redshift_connection() -> RowFormat {
    RowFormat {
        dialect: PIPES,
        header: given(&[
            "event",
            "recordtime",
            "remotehost",
            "remoteport",
            "pid",
            "dbname",
            "username",
            "authmethod",
            "duration",
            "sslversion",
            "sslcipher",
            "mtu",
            "sslcompression",
            "sslexpansion",
            "iamauthguid",
            "application_name",
            "os_version",
            "driver_version",
            "plugin_name",
            "protocol_version",
            "sessionid",
            "compression",
        ]),
        numbers: owned(&["remoteport", "pid", "duration", "mtu"]),
    }
}

/// User logs of Redshift: the same document.
pub fn redshift_user() -> RowFormat {
    RowFormat {
        dialect: PIPES,
        header: given(&[
            "userid",
            "username",
            "oldusername",
            "action",
            "usecreatedb",
            "usesuper",
            "usecatupd",
            "valuntil",
            "pid",
            "xid",
            "recordtime",
        ]),
        numbers: owned(&["userid", "pid", "xid"]),
    }
}

const PIPES: Dialect = Dialect {
    delimiter: Delimiter::Byte(b'|'),
    quoting: Quoting::None,
    brackets: false,
    comment: None,
};

fn given(names: &[&str]) -> Header {
    Header::Given(owned(names))
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::records::{Form, RowSplitter};

    fn rendered(format: RowFormat, plain: &str) -> Vec<Value> {
        let mut splitter = RowSplitter::new(format, 1 << 20);
        let mut rest = plain.as_bytes();
        let mut values = Vec::new();
        while let Some(record) = splitter.pop(&mut rest).unwrap() {
            let Form::Row(table) = record.form else {
                panic!("{:?}", record.form);
            };
            let mut out = Vec::new();
            assert!(!table.render(record.bytes, &mut out));
            values.push(serde_json::from_slice(&out).unwrap());
        }
        assert_eq!(splitter.finish().unwrap(), None);
        values
    }

    #[test]
    fn every_column_of_numbers_is_a_column() {
        let formats = [
            alb(),
            alb_connection(),
            nlb(),
            clb(),
            s3_access(),
            redshift_connection(),
            redshift_user(),
        ];
        for format in formats {
            let Header::Given(names) = &format.header else {
                panic!("{:?}", format.header);
            };
            for number in &format.numbers {
                assert!(names.contains(number), "{number}");
            }
            let unique: std::collections::HashSet<_> = names.iter().collect();
            assert_eq!(unique.len(), names.len());
        }
    }

    #[test]
    fn r6_vpc_flow_rows_are_typed_by_their_own_header() {
        let plain = "account-id version srcaddr srcport tcp-flags bytes start end log-status flow-direction\n\
            001234567890 5 10.0.0.1 443 19 18446744073709551615 1669842701 1669842702 OK egress\n\
            001234567890 5 - - - - 1669842701 1669842702 NODATA -\n";
        assert_eq!(
            rendered(vpc_flow(), plain),
            [
                json!({
                    "account-id": "001234567890", "version": 5, "srcaddr": "10.0.0.1", "srcport": 443,
                    "tcp-flags": 19, "bytes": 18_446_744_073_709_551_615_u64, "start": 1_669_842_701,
                    "end": 1_669_842_702, "log-status": "OK", "flow-direction": "egress",
                }),
                json!({
                    "account-id": "001234567890", "version": 5, "srcaddr": "-", "start": 1_669_842_701,
                    "end": 1_669_842_702, "log-status": "NODATA", "flow-direction": "-",
                }),
            ]
        );
    }

    #[test]
    fn r6_global_accelerator_rows_are_typed_by_their_own_header() {
        let plain = "version aws_account_id client_ip client_port gip gip_port protocol packets log_status\n\
            2.0 012345678901 192.0.2.7 37760 198.51.100.1 80 TCP 3 OK\n";
        assert_eq!(
            rendered(global_accelerator(), plain),
            [json!({
                "version": "2.0", "aws_account_id": "012345678901", "client_ip": "192.0.2.7",
                "client_port": 37760, "gip": "198.51.100.1", "gip_port": 80, "protocol": "TCP",
                "packets": 3, "log_status": "OK",
            })]
        );
    }

    #[test]
    fn r6_cloudfront_rows_are_typed_by_their_directive() {
        let plain = "#Version: 1.0\n\
            #Fields: date time sc-bytes c-ip cs(User-Agent) sc-status time-taken sc-range-start x-extra\n\
            2026-03-14\t07:25:11\t122254\t192.0.2.7\tMozilla/5.0%20(X11)\t200\t0.015\t-\t\n\
            2026-03-14\t07:25:12\t0\t2001:db8::7\t-\t000\t0.000\t0\tx y\n";
        assert_eq!(
            rendered(cloudfront(), plain),
            [
                json!({
                    "date": "2026-03-14", "time": "07:25:11", "sc-bytes": 122_254, "c-ip": "192.0.2.7",
                    "cs(User-Agent)": "Mozilla/5.0%20(X11)", "sc-status": 200, "time-taken": 0.015,
                    "x-extra": "",
                }),
                json!({
                    "date": "2026-03-14", "time": "07:25:12", "sc-bytes": 0, "c-ip": "2001:db8::7",
                    "cs(User-Agent)": "-", "sc-status": "000", "time-taken": 0.000,
                    "sc-range-start": 0, "x-extra": "x y",
                }),
            ]
        );
    }

    #[test]
    fn r6_alb_rows_hold_quoted_values_together_and_keep_dashes() {
        let plain = r#"https 2026-03-14T22:23:00.186641Z app/lb/50dc6c495c0c9188 192.0.2.39:2817 - -1 -1 -1 301 - 34 366 "GET https://example.com:443/a?b=c HTTP/1.1" "curl \"7\" \x22" - - - "Root=1-2" "-" "-" 0 2026-03-14T22:22:48.364000Z "redirect" "https://example.com/" "-" "-" "-" "-" "-" TID_1 "-" "-" "-" 10.0.0.1 new"#;
        let values = rendered(alb(), &format!("{plain} \n"));
        let [value] = values.as_slice() else {
            panic!("{values:?}");
        };
        for (name, expected) in [
            ("type", json!("https")),
            ("client:port", json!("192.0.2.39:2817")),
            ("target:port", json!("-")),
            ("request_processing_time", json!(-1)),
            ("elb_status_code", json!(301)),
            ("target_status_code", json!("-")),
            ("sent_bytes", json!(366)),
            (
                "request",
                json!("GET https://example.com:443/a?b=c HTTP/1.1"),
            ),
            ("user_agent", json!("curl \"7\" \\x22")),
            ("trace_id", json!("Root=1-2")),
            ("matched_rule_priority", json!("0")),
            ("redirect_url", json!("https://example.com/")),
            ("conn_trace_id", json!("TID_1")),
            ("request_transform_status", json!("-")),
            ("column_34", json!("10.0.0.1")),
            ("column_35", json!("new")),
        ] {
            assert_eq!(value[name], expected, "{name}");
        }
        assert_eq!(value.as_object().unwrap().len(), 35);
    }

    #[test]
    fn r6_connection_nlb_and_clb_rows_are_typed() {
        let connection = "2026-03-14T17:05:15.514108Z 192.0.2.8 36280 443 TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256 \
            4.036 \"CN=a b,O=c\" NotBefore=1;NotAfter=2 FEF2 Success TID_2\n";
        let [value] = rendered(alb_connection(), connection).try_into().unwrap();
        assert_eq!(value["client_port"], json!(36280));
        assert_eq!(value["tls_handshake_latency"], json!(4.036));
        assert_eq!(value["leaf_client_cert_subject"], json!("CN=a b,O=c"));
        assert_eq!(value["conn_trace_id"], json!("TID_2"));

        let nlb_row = "tls 2.0 2026-03-14T08:51:42 net/n/c6e7 g3d4 192.0.2.1:51341 10.0.0.5:443 5 2 98 246 - \
            arn - ECDHE tlsv12 - example.com h2 h2 \"h2\",\"http/1.1\" 2026-03-14T08:51:20\n";
        let [value] = rendered(nlb(), nlb_row).try_into().unwrap();
        assert_eq!(value["version"], json!("2.0"));
        assert_eq!(value["connection_time"], json!(5));
        assert_eq!(value.get("incoming_tls_alert"), None);
        assert_eq!(
            value["alpn_client_preference_list"],
            json!("\"h2\",\"http/1.1\"")
        );
        assert_eq!(
            value["tls_connection_creation_time"],
            json!("2026-03-14T08:51:20")
        );

        let clb_row = "2026-03-14T23:39:43.945958Z lb 192.0.2.39:2817 10.0.0.1:80 0.001069 0.000028 0.000041 \
            - - 82 305 \"- - - \" \"-\" - -\n";
        let [value] = rendered(clb(), clb_row).try_into().unwrap();
        assert_eq!(value["request_processing_time"], json!(0.001_069));
        assert_eq!(value.get("elb_status_code"), None);
        assert_eq!(value["request"], json!("- - - "));
        assert_eq!(value["ssl_protocol"], json!("-"));
    }

    #[test]
    fn r6_s3_access_rows_hold_the_bracketed_time_together() {
        let plain = "79a5 logs [14/Mar/2026:00:00:38 +0000] 192.0.2.3 79a5 3E57 REST.GET.OBJECT a%20b \
            \"GET /logs/a%20b HTTP/1.1\" 200 - 113 - 7 - \"-\" \"S3 \"Console\"/0.4\" - s9lz= SigV4 ECDHE \
            AuthHeader logs.s3.amazonaws.com TLSv1.2 - Yes eu-west-1 more\n";
        let [value] = rendered(s3_access(), plain).try_into().unwrap();
        for (name, expected) in [
            ("bucket_owner", json!("79a5")),
            ("time", json!("14/Mar/2026:00:00:38 +0000")),
            ("remote_ip", json!("192.0.2.3")),
            ("key", json!("a%20b")),
            ("request_uri", json!("GET /logs/a%20b HTTP/1.1")),
            ("http_status", json!(200)),
            ("error_code", json!("-")),
            ("bytes_sent", json!(113)),
            ("total_time", json!(7)),
            ("referer", json!("-")),
            ("user_agent", json!("S3 \"Console\"/0.4")),
            ("acl_required", json!("Yes")),
            ("source_region", json!("eu-west-1")),
            ("column_28", json!("more")),
        ] {
            assert_eq!(value[name], expected, "{name}");
        }
        assert_eq!(value.get("object_size"), None);
    }

    #[test]
    fn r6_w3c_fields_may_change_in_the_middle() {
        let plain = "#Version: 1.0\r\n#Fields: date cs-method\r\n2026-03-14 GET\r\n#Date: x\r\n\
            #fields:\tcs-method sc-status\r\nPUT 00200\r\n";
        assert_eq!(
            rendered(w3c(), plain),
            [
                json!({"date": "2026-03-14", "cs-method": "GET"}),
                json!({"cs-method": "PUT", "sc-status": "00200"}),
            ]
        );
    }
}
