"""The deployed stack: `sam deploy` of template.yaml, real clients, every record once.

The functions run as the template's own roles, and what a role does not allow is refused.
"""

import gzip
import json
import random
from datetime import datetime, timezone
from pathlib import Path

from cloud import ACCOUNT, REGION, ROOT, Cloud, wait_for
from listener import Listener

RECORDS = 50
AWKWARD = "dir a/k+ey é日 %41.json.gz"
QUICK = {"GraceMs": 15000, "ReconcileSchedule": "rate(1 minute)", "TimeoutSeconds": 60}


# ---------------------------------------------------------------- objects


def records(name: str, count: int = RECORDS, padding: int = 40) -> tuple[list, bytes]:
    """Records that no other object has: their ids, and the lines."""
    noise = random.Random(name)
    ids = [f"{name}:{i}" for i in range(count)]
    lines = [json.dumps({"id": id, "ClientIP": "192.0.2.7", "noise": noise.randbytes(padding).hex()}) for id in ids]
    return ids, "".join(line + "\n" for line in lines).encode()


def compose(folder: Path, names: list) -> list:
    """An object for each name; the ids of all their records."""
    wanted = []
    for i, name in enumerate(names):
        ids, plain = records(name)
        if name.endswith("large.json.gz"):
            # Above the clients' limit of 5 MB, so they upload it in parts.
            ids, plain = records(name, 12_000, 500)
        if i % 3 == 1:
            # Two gzip members, as a producer that appends writes them.
            half = plain.index(b"\n", len(plain) // 2) + 1
            body = gzip.compress(plain[:half]) + gzip.compress(plain[half:])
        elif name.endswith(".gz"):
            body = gzip.compress(plain)
        else:
            body = plain
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(body)
        wanted += ids
    return wanted


class Producer:
    """Puts objects as people do, half with the AWS CLI and half with s3cmd."""

    def __init__(self, cloud: Cloud, bucket: str, prefix: str):
        self.cloud, self.bucket, self.prefix = cloud, bucket, prefix
        self.batches = 0
        may = {"Effect": "Allow", "Action": ["s3:PutObject", "s3:AbortMultipartUpload"], "Resource": f"arn:aws:s3:::{bucket}/*"}
        self.identity = cloud.user(f"producer-of-{bucket}", [may])
        (cloud.home / "aws-config").write_text("[default]\ns3 =\n  multipart_threshold = 5MB\n  multipart_chunksize = 5MB\n")

    def put(self, count: int, *more: str) -> list:
        """So many objects; the ids of all their records."""
        self.batches += 1
        folder = self.cloud.home / self.bucket / str(self.batches)
        names = list(more) + [f"{i}.json{'.gz' if i % 4 else ''}" for i in range(count - len(more))]
        wanted = []
        for client, names in (("aws", names[0::2]), ("s3cmd", names[1::2])):
            wanted += compose(folder, [f"{self.batches}-{client}/{name}" for name in names])
            if names:
                getattr(self, client)(folder / f"{self.batches}-{client}")
        return wanted

    def aws(self, folder: Path):
        destination = f"s3://{self.bucket}/{self.prefix}{folder.name}"
        self.cloud.run(["aws", "s3", "cp", "--recursive", "--no-progress", folder, destination], self.identity)

    def s3cmd(self, folder: Path):
        settings = self.cloud.home / "s3cfg"
        settings.write_text("[default]\n")
        self.cloud.run(
            ["s3cmd", "--config", settings, "--host", self.cloud.address, "--host-bucket", self.cloud.address]
            + ["--ca-certs", self.cloud.authority, "--region", REGION, "--multipart-chunk-size-mb", "5"]
            + ["--no-progress", "--recursive", "put", folder, f"s3://{self.bucket}/{self.prefix}"],
            self.identity,
        )


# ---------------------------------------------------------------- what is seen


def metric(cloud: Cloud, stack: str, function: str, name: str) -> float:
    """The sum of a metric over all the lines in which a function published it."""
    total = 0.0
    for line in cloud.logged(stack, function).splitlines():
        if '"_aws"' in line:
            published = json.loads(line)
            assert published["Service"] == stack
            total += published.get(name, 0)
    return total


def states(cloud: Cloud, outputs: dict) -> list:
    """The state of each object's row; reconcile keeps rows of its own, without one."""
    return [row["state"]["S"] for row in cloud.rows(outputs["LedgerTable"]) if "state" in row]


def quarantined(cloud: Cloud, outputs: dict) -> list:
    return cloud.keys(outputs["QuarantineUrl"].removeprefix("s3://").rstrip("/"))


def arrives(listener: Listener, wanted: list, seconds: float):
    wait_for(f"{len(wanted)} records at the listener", seconds, lambda: not listener.missing(wanted))


def each_came_once(listener: Listener, wanted: list):
    assert listener.missing(wanted) == []
    assert listener.doubled(wanted) == []
    assert set(listener.records) == set(wanted), "records that nobody sent"
    assert listener.faults == []


def nothing_is_left(cloud: Cloud, outputs: dict):
    # A message may still be hidden by its backoff when reconcile has brought its object already.
    wait_for("the queue is empty", 120, lambda: cloud.queued(outputs["QueueUrl"]) == 0)
    assert cloud.queued(outputs["DeadLetterQueueUrl"]) == 0


# ---------------------------------------------------------------- the two ways to deploy


def test_a_bucket_made_by_the_stack(cloud):
    token, bucket, stack = "right-token-5d1c", "made-by-the-stack", "made"
    listener = Listener(token)
    secret = cloud.secretsmanager.create_secret(Name="token", SecretString="wrong-token-7e0f")["ARN"]
    outputs = cloud.deploy(
        stack,
        **QUICK,
        BucketName=bucket,
        Prefix="logs/",
        EndpointUrl=listener.url,
        EndpointTokenArn=secret,
        LogType="cloudflare",
    )
    producer = Producer(cloud, bucket, "logs/")

    # With a wrong token nothing is settled and nothing quarantined, and no log shows the token.
    wanted = producer.put(1)
    wait_for("the listener refuses the token", 60, lambda: listener.refused)
    wait_for("a fatal error is counted", 60, lambda: metric(cloud, stack, "ingest", "FatalErrors"))
    assert not {"settled", "quarantined"} & set(states(cloud, outputs))
    assert quarantined(cloud, outputs) == []
    assert cloud.queued(outputs["DeadLetterQueueUrl"]) == 0
    assert "401" in cloud.logged(stack, "ingest")
    # The secret is changed, and the same message is delivered.
    cloud.secretsmanager.put_secret_value(SecretId=secret, SecretString=token)
    arrives(listener, wanted, 120)
    assert "-token-" not in cloud.logged(stack, "ingest") + cloud.logged(stack, "reconcile")

    # Forty objects, five of them while there is no notification.
    notifications = cloud.s3.get_bucket_notification_configuration(Bucket=bucket)
    notifications.pop("ResponseMetadata")
    cloud.s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    lost = producer.put(5)
    cloud.s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=notifications)
    told = producer.put(35, AWKWARD, AWKWARD, "large.json.gz")
    arrives(listener, told, 60)
    arrives(listener, lost, 150)
    wanted += lost + told
    nothing_is_left(cloud, outputs)
    each_came_once(listener, wanted)
    assert listener.types.keys() == {"cloudflare"}
    assert states(cloud, outputs) == ["settled"] * 41
    assert metric(cloud, stack, "reconcile", "Missing") >= 5

    wanted += answers_for_each_message_of_a_batch(cloud, listener, producer, outputs)
    each_came_once(listener, wanted)
    listener.close()

    # Deleting the stack leaves what cannot be made again.
    cloud.cloudformation.delete_stack(StackName=stack)
    wait_for("the functions are gone", 60, lambda: not cloud.functions.list_functions()["Functions"])
    assert len(cloud.keys(bucket)) == 45
    assert quarantined(cloud, outputs) != []
    assert len(states(cloud, outputs)) == 45


def answers_for_each_message_of_a_batch(cloud, listener, producer, outputs) -> list:
    """Two good objects, a truncated one, a malformed message, and one that the endpoint cannot take now."""
    function, queue, bucket = outputs["IngestFunction"], outputs["QueueUrl"], producer.bucket
    mapping = cloud.mapping(outputs)["UUID"]
    cloud.functions.update_event_source_mapping(UUID=mapping, Enabled=False)
    # A shorter time-out, so that the wait for the deadline is short.
    cloud.functions.update_function_configuration(FunctionName=function, Timeout=25)
    settled_before = states(cloud, outputs).count("settled")
    wanted = []
    for name in ("good-1", "good-2", "truncated", "stubborn"):
        ids, plain = records(name)
        body = gzip.compress(plain)
        if name == "truncated":
            body = body[: len(body) // 2]
        else:
            wanted += ids
        cloud.s3.put_object(Bucket=bucket, Key=f"logs/{name}.json.gz", Body=body)
    cloud.sqs.send_message(QueueUrl=queue, MessageBody="neither an event nor JSON")
    listener.unwell_for = "stubborn"

    messages = []

    def received():
        messages.extend(
            cloud.sqs.receive_message(
                QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=120, MessageSystemAttributeNames=["All"]
            ).get("Messages", [])
        )
        return len(messages) == 5

    wait_for("five messages", 30, received)
    event = {
        "Records": [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {},
                "md5OfBody": message["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue.rsplit('/', 1)[-1]}",
                "awsRegion": REGION,
            }
            for message in messages
        ]
    }
    answer = cloud.functions.invoke(FunctionName=function, Payload=json.dumps(event).encode())
    payload = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, payload
    stubborn = [message["MessageId"] for message in messages if "stubborn" in message["Body"]]
    assert payload == {"batchItemFailures": [{"itemIdentifier": id} for id in stubborn]}
    assert listener.unwell > 1, "it was tried again while there was time"
    for message in messages:
        if message["MessageId"] not in stubborn:
            cloud.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])

    seen = states(cloud, outputs)
    assert seen.count("quarantined") == 1
    assert seen.count("settled") == settled_before + 2
    assert quarantined(cloud, outputs) != []
    dead = cloud.sqs.receive_message(QueueUrl=outputs["DeadLetterQueueUrl"])["Messages"]
    assert [message["Body"] for message in dead] == ["neither an event nor JSON"]

    # The endpoint is well again, and the message comes back by itself.
    listener.unwell_for = None
    cloud.functions.update_function_configuration(FunctionName=function, Timeout=60)
    cloud.functions.update_event_source_mapping(UUID=mapping, Enabled=True)
    # Good records before the damage are delivered; how many, the cut decides.
    arrives(listener, wanted, 120)
    return wanted + [id for id in listener.records if id.startswith("truncated:")]


def test_a_bucket_that_exists_read_by_a_role_with_an_external_id(cloud):
    token, bucket, stack = "right-token-91ab", "there-before", "existing"
    listener = Listener(token)
    cloud.ssm.put_parameter(Name="/brigade/token", Type="SecureString", Value=token)
    token_arn = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/brigade/token"

    # A bucket with a notification that somebody relies on.
    cloud.s3.create_bucket(Bucket=bucket)
    earlier = cloud.sqs.create_queue(QueueName="earlier")["QueueUrl"]
    earlier_arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:earlier"
    allow = {"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": earlier_arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    cloud.sqs.set_queue_attributes(QueueUrl=earlier, Attributes={"Policy": policy})
    notification = {
        "Id": "reports",
        "QueueArn": earlier_arn,
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "reports/"}]}},
    }
    cloud.s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [notification]}
    )

    # A role that reads it, for those who know its external ID.
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": "right-id"}},
    }
    role = cloud.iam.create_role(
        RoleName="log-reader", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    read = [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectVersion"], "Resource": f"arn:aws:s3:::{bucket}/logs/*"},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"},
    ]
    cloud.iam.put_role_policy(
        RoleName="log-reader", PolicyName="read", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": read})
    )

    parameters = QUICK | {
        "BucketName": bucket,
        "MakeBucket": "false",
        "Prefix": "logs/",
        "Watch": f"s3://{bucket}/logs/%Y/%m/%d/",
        "EndpointUrl": listener.url,
        "EndpointTokenArn": token_arn,
        "SourceRoleArn": role,
    }
    outputs = cloud.deploy(stack, **parameters, SourceExternalId="wrong-id")

    # EventBridge is turned on beside what was there; again changes nothing.
    enable = ["make", "-C", ROOT, "enable-eventbridge", f"BUCKET={bucket}"]
    assert "1 other notifications kept" in cloud.run(enable, cloud.deployer)
    assert "on already" in cloud.run(enable, cloud.deployer)
    configured = cloud.s3.get_bucket_notification_configuration(Bucket=bucket)
    assert configured["EventBridgeConfiguration"] == {}
    assert configured["QueueConfigurations"] == [notification]

    # The role refuses the wrong ID, reconcile first, before there is anything to be found ...
    wait_for("reconcile is refused", 90, lambda: metric(cloud, stack, "reconcile", "FatalErrors"))

    # ... then ingest: of forty objects, five put while the rule is off, none moves and none is lost.
    producer = Producer(cloud, bucket, f"logs/{datetime.now(timezone.utc):%Y/%m/%d}/")
    rule = cloud.cloudformation.describe_stack_resource(StackName=stack, LogicalResourceId="ObjectCreatedRule")
    rule = rule["StackResourceDetail"]["PhysicalResourceId"]
    cloud.events.disable_rule(Name=rule)
    wanted = producer.put(5)
    cloud.events.enable_rule(Name=rule)
    wanted += producer.put(35, AWKWARD, AWKWARD, "large.json.gz")

    wait_for("ingest is refused", 60, lambda: metric(cloud, stack, "ingest", "FatalErrors"))
    assert not listener.records
    assert not {"settled", "quarantined"} & set(states(cloud, outputs))
    assert quarantined(cloud, outputs) == []
    assert cloud.queued(outputs["DeadLetterQueueUrl"]) == 0
    assert cloud.queued(outputs["QueueUrl"]) == 35

    # A stack update brings the right one, and everything arrives.
    with cloud.at_rest(outputs):
        cloud.deploy(stack, **parameters, SourceExternalId="right-id")
    arrives(listener, wanted, 180)
    nothing_is_left(cloud, outputs)
    each_came_once(listener, wanted)
    assert states(cloud, outputs) == ["settled"] * 40
    assert metric(cloud, stack, "reconcile", "Missing") >= 5

    # The earlier notification still works, and its objects are not ours.
    cloud.s3.put_object(Bucket=bucket, Key="reports/monthly.csv", Body=b"not a log object")
    heard = lambda: cloud.sqs.receive_message(QueueUrl=earlier, MaxNumberOfMessages=10).get("Messages", [])
    wait_for("the earlier notification", 30, lambda: any("reports/monthly.csv" in each["Body"] for each in heard()))
    assert cloud.queued(outputs["QueueUrl"]) == 0
    listener.close()
