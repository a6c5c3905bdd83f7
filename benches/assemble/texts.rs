//! Plain bytes as sources write them, some [`TEXT_BYTES`] each, and how many records they hold.

use super::{cloudflare, cloudtrail};

pub const TEXT_BYTES: usize = 64 << 20;

pub type Text = (Vec<u8>, u64);

/// Objects of Cloudflare, one a line.
pub fn ndjson() -> Text {
    let (mut records, mut line) = (cloudflare::Records::default(), String::new());
    repeated(b"", |_| {
        records.next(&mut line);
        line.clone()
    })
}

/// A document of CloudTrail on one line.
pub fn array(events: &[String]) -> Text {
    let events_joined = events.join(",");
    let document = [cloudtrail::OPENING, &events_joined, cloudtrail::CLOSING].concat();
    (document.into_bytes(), events.len() as u64)
}

/// The same events with nothing between them.
pub fn values(events: &[String]) -> Text {
    (events.concat().into_bytes(), events.len() as u64)
}

/// As CloudWatch Logs would send them, 50 a document.
pub fn subscription(events: &[String]) -> Text {
    let mut documents = String::new();
    for some in events.chunks(50) {
        documents.push_str(
            r#"{"messageType":"DATA_MESSAGE","owner":"123456789010","logGroup":"trail","logStream":"123456789010_CloudTrail_eu-west-1","subscriptionFilters":["all"],"logEvents":["#,
        );
        for (index, event) in some.iter().enumerate() {
            let message = serde_json::Value::from(event.as_str());
            let comma = if index == 0 { "" } else { "," };
            documents.push_str(&format!(
                r#"{comma}{{"id":"{index:056}","timestamp":1773478800000,"message":{message}}}"#
            ));
        }
        documents.push_str("]}");
    }
    (documents.into_bytes(), events.len() as u64)
}

/// Events of CloudTrail.
pub fn events() -> Vec<String> {
    let (mut events, mut event) = (cloudtrail::Events::default(), String::new());
    let (mut all, mut bytes) = (Vec::new(), 0);
    while bytes < TEXT_BYTES {
        events.next(&mut event);
        bytes += event.len();
        all.push(event.trim_start_matches(',').to_owned());
    }
    all
}

/// Flow logs of the default fields, after their header.
pub fn vpc_flow() -> Text {
    let header =
        b"version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes \
        start end action log-status\n";
    repeated(header, |row| {
        format!(
            "2 123456789012 eni-0050644426037aa0f 10.26.{}.153 3.239.232.{} {} 443 6 48 {} 1669842701 \
             1669842702 ACCEPT OK\n",
            row % 256,
            row / 256 % 256,
            1024 + row % 60_000,
            row * 37,
        )
    })
}

/// Quotes, quotes in quotes, and a line feed in every row.
pub fn csv() -> Text {
    repeated(b"id,time,path,agent,status,text\n", |row| {
        format!(
            "{row},2026-03-14T07:25:11Z,/a/{row},\"Mozilla/5.0 (X11, like \"\"Gecko\"\")\",{},\"a,b\nc\"\n",
            200 + row % 300,
        )
    })
}

/// No quotes.
pub fn tsv() -> Text {
    repeated(b"id\ttime\tpath\tagent\tstatus\ttext\n", |row| {
        format!(
            "{row}\t2026-03-14T07:25:11Z\t/a/{row}\tMozilla/5.0 (X11, like Gecko)\t{}\ta,b c\n",
            200 + row % 300,
        )
    })
}

/// Standard logs of CloudFront: W3C, with tabs between the values.
pub fn cloudfront() -> Text {
    let header =
        b"#Version: 1.0\n#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) \
        cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type \
        x-edge-request-id x-host-header cs-protocol cs-bytes time-taken\n";
    repeated(header, |row| {
        format!(
            "2026-03-14\t07:{:02}:{:02}\tFRA56-P1\t{}\t192.0.2.{}\tGET\td111111abcdef8.cloudfront.net\t\
             /shop/item/{row:x}\t{}\t-\tMozilla/5.0%20(Windows%20NT%2010.0;%20Win64;%20x64)\t-\t-\tHit\t\
             {:056x}\twww.example.com\thttps\t{}\t0.{:03}\n",
            row / 60 % 60,
            row % 60,
            row * 37 % 100_000,
            row % 256,
            [200, 301, 404][row % 3],
            row * 0x9e37_79b9,
            100 + row % 900,
            row % 1_000,
        )
    })
}

/// The same as any writer of W3C has it: blanks between the values.
pub fn w3c() -> Text {
    let header =
        b"#Version: 1.0\n#Fields: date time c-ip cs-method cs-uri-stem sc-status sc-bytes cs(User-Agent)\n";
    repeated(header, |row| {
        format!(
            "2026-03-14 07:{:02}:{:02} 192.0.2.{} GET /shop/item/{row:x} {} {} \"Mozilla/5.0 (X11, like Gecko)\"\n",
            row / 60 % 60,
            row % 60,
            row % 256,
            [200, 301, 404][row % 3],
            row * 37 % 100_000,
        )
    })
}

/// A broker's log, in which every fourth record has a stack trace of six lines.
pub fn broker() -> Text {
    const TRACE: &str = "java.io.IOException: Connection to 192.0.2.7:9092 was disconnected\n\
        \tat org.apache.kafka.clients.NetworkClientUtils.sendAndReceive(NetworkClientUtils.java:100)\n\
        \tat kafka.server.BrokerBlockingSender.sendRequest(BrokerBlockingSender.scala:114)\n\
        \tat kafka.server.RemoteLeaderEndPoint.fetch(RemoteLeaderEndPoint.scala:79)\n\
        \tat kafka.server.AbstractFetcherThread.doWork(AbstractFetcherThread.scala:131)\n\
        \tat java.base/java.lang.Thread.run(Thread.java:840)\n";
    repeated(b"", |row| {
        format!(
            "[2026-03-14 07:{:02}:{:02},{:03}] INFO [ReplicaFetcher replicaId={}, fetcherId=0] Retrying fetch of \
             {row} (kafka.server.ReplicaFetcherThread)\n{}",
            row / 60 % 60,
            row % 60,
            row % 1_000,
            row % 6,
            if row % 4 == 0 { TRACE } else { "" },
        )
    })
}

/// Records after a header.
fn repeated(header: &[u8], mut record: impl FnMut(usize) -> String) -> Text {
    let mut text = header.to_vec();
    let mut records = 0;
    while text.len() < TEXT_BYTES {
        text.extend_from_slice(record(records).as_bytes());
        records += 1;
    }
    (text, records as u64)
}
