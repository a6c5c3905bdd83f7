//! What a key says of the AWS account and region whose logs it holds.

/// Account and region, as far as the key names them.
///
/// AWS services write below `AWSLogs/ACCOUNT/SERVICE/…/REGION/` (an organisation's trail has `o-…` before the
/// account; Network Firewall has a kind of log before the region), or with names:
/// `aws-account-id=ACCOUNT/…/aws-region=REGION/` (VPC guide, "Flow log files"). A key of another form names
/// neither, nor does a segment count that does not look like one: `cloudfront` in the keys of AWS WAF is no region.
pub fn account_and_region(key: &str) -> (Option<&str>, Option<&str>) {
    let mut segments = key
        .split('/')
        .skip_while(|segment| *segment != "AWSLogs")
        .skip(1)
        .peekable();
    segments.next_if(|segment| segment.starts_with("o-"));
    let account = segments.next_if(|segment| is_account(segment));
    // After the service, and after at most one more segment.
    let region = account.and_then(|_| {
        let mut folders = segments.clone().skip(1).take(2);
        folders.find(|segment| is_region(segment))
    });
    let named = |name: &str, fits: fn(&str) -> bool| {
        let mut values = segments
            .clone()
            .filter_map(|segment| segment.strip_prefix(name));
        values.find(|value| fits(value))
    };
    (
        account.or_else(|| named("aws-account-id=", is_account)),
        region.or_else(|| named("aws-region=", is_region)),
    )
}

/// Twelve digits.
fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `us-east-1`, `us-gov-west-1`, `ap-southeast-10`.
fn is_region(text: &str) -> bool {
    let Some((place, number)) = text.rsplit_once('-') else {
        return false;
    };
    let mut words = place.split('-');
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    matches!(number.len(), 1 | 2)
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && words
            .next()
            .is_some_and(|area| is_word(area) && area.len() <= 4)
        && place.contains('-')
        && words.all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_and_region_are_found_in_the_keys_of_aws_services() {
        const A: Option<&str> = Some("123456789012");
        for (key, region) in [
            (
                "p/AWSLogs/123456789012/CloudTrail/us-east-1/2024/01/02/x.json.gz",
                Some("us-east-1"),
            ),
            (
                "AWSLogs/o-abc123/123456789012/CloudTrail/us-gov-west-1/2024/x",
                Some("us-gov-west-1"),
            ),
            (
                "AWSLogs/123456789012/elasticloadbalancing/eu-central-1/2024/x",
                Some("eu-central-1"),
            ),
            (
                "AWSLogs/123456789012/network-firewall/alert/ap-southeast-10/fw/x",
                Some("ap-southeast-10"),
            ),
            ("AWSLogs/123456789012/WAFLogs/cloudfront/acl/2024/x", None),
            (
                "AWSLogs/123456789012/vpcdnsquerylogs/vpc-0a1b2c/2024/01/02/x",
                None,
            ),
            (
                "AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/aws-region=us-west-2/year=2024/x",
                Some("us-west-2"),
            ),
        ] {
            assert_eq!(account_and_region(key), (A, region), "{key}");
        }
    }

    #[test]
    fn a_key_of_another_form_names_neither() {
        for key in [
            "",
            "logs/20240101/x.gz",
            "123456789012/CloudTrail/us-east-1/x",
            "MyAWSLogs/123456789012/CloudTrail/us-east-1/x",
            "AWSLogs/12345678901/CloudTrail/us-east-1/x",
            "AWSLogs",
        ] {
            assert_eq!(account_and_region(key), (None, None), "{key}");
        }
    }
}
