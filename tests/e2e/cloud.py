"""An AWS on loopback (ministack) with its IAM enforced, and what deploys onto it.

Where it differs from AWS, seen with version 1.5.33:

- It answers at an address of its own, and the functions must learn that address. Set as
  AWS_ENDPOINT_URL in ministack's own environment it reaches every function at every moment,
  also the ones that a stack update has just replaced; update-function-configuration would
  leave a gap in which a function looks for the real AWS.
- A function inherits ministack's whole environment. So that environment is made here from
  nothing: what the developer's shell holds never reaches a function.
- IAM is off unless AUTH=true. aws:SecureTransport is honoured then, so the buckets' TLS-only
  policies refuse plain HTTP: ministack speaks TLS, under an authority made for this run, which
  the functions trust by SSL_CERT_FILE, as they would trust a private authority anywhere.
- The condition key kms:ViaService is not known, so nothing here is encrypted with a KMS key.
- EventBridge delivers to a queue without asking the queue's policy, so only the notifications
  of a bucket made by the stack show that the queue's policy is right.
- CloudFormation passes a parameter of type Number on as text. AWS makes a number of it where one
  is wanted; here the poller of the queue fails on MaximumConcurrency ("'>=' not supported"), so
  the cap is set once more after each deployment.
- An update of a function kills its running invocations, which AWS lets end. Their messages would
  come back, but only after the queue's visibility time-out; so nothing runs while a stack is updated.
- SendMessageBatch wants a permission sqs:SendMessageBatch, which AWS does not know: there
  sqs:SendMessage covers both. A policy of its own allows it.
- A parameter that is named by its ARN, as AWS allows, is looked up well but authorised under a
  resource "...:parameter/arn:aws:ssm:..."; a policy of its own allows just that.
- CloudFormation leaves out of a new table its TTL and point-in-time recovery, and out of a new
  bucket its lifecycle rules. Nor do rows ever expire.
- Metrics in log lines are not read, so no alarm changes its state.
"""

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import boto3
import trustme
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
VENV = Path(os.environ.get("VENV", ROOT / ".venv"))
BOOTSTRAPS = Path(os.environ.get("BOOTSTRAP_DIR", ROOT / "target" / "debug"))
REGION = "us-east-1"
ACCOUNT = "000000000000"


def wait_for(what: str, seconds: float, done, every: float = 0.5):
    """What `done` returns as soon as it is true; fails with `what` after so many seconds."""
    end = time.monotonic() + seconds
    while not (answer := done()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)
    return answer


class Cloud:
    def __init__(self, home: Path):
        self.home = home
        self.authority = home / "authority.pem"
        certificate = home / "server.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self.url = f"https://{self.address}"
        self.base_env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
        self.log = open(home / "ministack.log", "wb")
        self.process = subprocess.Popen(
            [VENV / "ministack" / "bin" / "python", "-m", "ministack"],
            cwd=home,
            env=self.base_env
            | {
                "AUTH": "true",
                "BIND_HOST": "127.0.0.1",
                "GATEWAY_PORT": str(port),
                "MINISTACK_HOST": "127.0.0.1",
                "MINISTACK_REGION": REGION,
                "USE_SSL": "1",
                "MINISTACK_SSL_CERT": str(certificate),
                "MINISTACK_SSL_KEY": str(certificate),
                "AWS_ENDPOINT_URL": self.url,
                "SSL_CERT_FILE": str(self.authority),
                "TMPDIR": str(home),
            },
            stdout=self.log,
            stderr=subprocess.STDOUT,
            # A group of its own, so that the functions end with it.
            start_new_session=True,
        )
        wait_for("the local AWS answers", 30, lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, 0.1)
        root = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        self.iam = self.client("iam", root)
        self.deployer = self.user("deployer", [{"Effect": "Allow", "Action": "*", "Resource": "*"}])
        for name in ("s3", "sqs", "sts", "lambda", "logs", "ssm", "secretsmanager", "dynamodb", "cloudformation", "events"):
            setattr(self, name.replace("lambda", "functions"), self.client(name, self.deployer))
        self.s3.create_bucket(Bucket="artifacts")

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def client(self, service: str, identity: dict):
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            verify=str(self.authority),
            aws_access_key_id=identity["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=identity["AWS_SECRET_ACCESS_KEY"],
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 3}),
        )

    def user(self, name: str, statements: list) -> dict:
        """A user that may do just this; its access key."""
        self.iam.create_user(UserName=name)
        self.iam.put_user_policy(
            UserName=name,
            PolicyName=name,
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}),
        )
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    def run(self, command: list, identity: dict, cwd: Path | None = None) -> str:
        """A command line tool, aimed at this AWS; its output."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd or self.home,
            env=self.base_env
            | {"PATH": f"{VENV / 'clients' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
            | identity
            | {
                "AWS_ENDPOINT_URL": self.url,
                "AWS_CA_BUNDLE": str(self.authority),
                "AWS_DEFAULT_REGION": REGION,
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_CONFIG_FILE": str(self.home / "aws-config"),
                "SAM_CLI_TELEMETRY": "0",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    # Deploying.

    def package(self) -> Path:
        """The real template, but for one thing: each function's code is a folder with its bootstrap."""
        place = self.home / "package"
        if not place.exists():
            for binary in ("ingest", "reconcile"):
                (place / binary).mkdir(parents=True)
                bootstrap = shutil.copy(BOOTSTRAPS / binary, place / binary / "bootstrap")
                # Most of an unoptimised binary is symbols. Not everything is a binary, nor has everyone strip.
                subprocess.run(["strip", bootstrap], stderr=subprocess.DEVNULL, check=False)
            template = (ROOT / "template.yaml").read_text()
            template = replaced(template, "    CodeUri: .\n", "")
            for binary in ("ingest", "reconcile"):
                template = replaced(
                    template,
                    "    Metadata:\n"
                    "      BuildMethod: rust-cargolambda\n"
                    "      BuildProperties:\n"
                    f"        Binary: {binary}\n"
                    "    Properties:\n",
                    f"    Properties:\n      CodeUri: {binary}/\n",
                )
            (place / "template.yaml").write_text(template)
        return place

    def deploy(self, stack: str, **parameters) -> dict:
        """`sam deploy`, as the README has it; the stack's outputs."""
        parameters = {"Architecture": {"aarch64": "arm64"}.get(platform.machine(), "x86_64")} | parameters
        self.run(
            [VENV / "sam" / "bin" / "sam", "deploy", "--stack-name", stack]
            + ["--s3-bucket", "artifacts", "--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset"]
            + ["--no-progressbar", "--parameter-overrides"]
            + [f'{name}="{value}"' for name, value in parameters.items()],
            self.deployer,
            cwd=self.package(),
        )
        described = self.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        assert described["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE"), described["StackStatus"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
        # See the top of this file: the cap again, as a number.
        mapping = self.mapping(outputs)
        cap = {"MaximumConcurrency": int(mapping["ScalingConfig"]["MaximumConcurrency"])}
        self.functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig=cap)
        queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{outputs['QueueUrl'].rsplit('/', 1)[-1]}"
        self.allow(outputs["ReconcileRoleArn"], "batches", "sqs:SendMessageBatch", queue)
        token = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{parameters['EndpointTokenArn']}"
        self.allow(outputs["IngestRoleArn"], "parameter-by-arn", "ssm:GetParameter", token)
        return outputs

    @contextmanager
    def at_rest(self, outputs: dict):
        """While ingest has no work. See the top of this file."""
        mapping = self.mapping(outputs)["UUID"]
        self.functions.update_event_source_mapping(UUID=mapping, Enabled=False)
        time.sleep(5)
        yield
        self.functions.update_event_source_mapping(UUID=mapping, Enabled=True)

    def allow(self, role_arn: str, name: str, action: str, resource: str):
        """What a role may do on AWS already; see the top of this file."""
        statement = {"Effect": "Allow", "Action": action, "Resource": resource}
        self.iam.put_role_policy(
            RoleName=role_arn.rsplit("/", 1)[-1],
            PolicyName=name,
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        )

    # Looking.

    def mapping(self, outputs: dict) -> dict:
        """The one event source mapping of the ingest function."""
        (mapping,) = self.functions.list_event_source_mappings(FunctionName=outputs["IngestFunction"])["EventSourceMappings"]
        return mapping

    def rows(self, table: str) -> list:
        """All rows of a ledger."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        return [row for page in pages for row in page["Items"]]

    def keys(self, bucket: str) -> list:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def queued(self, url: str) -> int:
        """Messages waiting or under way."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        counts = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(counts[name]) for name in names)

    def logged(self, stack: str, function: str) -> str:
        """Everything that a function wrote."""
        pages = self.logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{stack}-{function}")
        return "\n".join(event["message"] for page in pages for event in page["events"])


def replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"template.yaml holds this {text.count(old)} times, not once:\n{old}"
    return text.replace(old, new)
