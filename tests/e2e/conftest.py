import pytest
from cloud import Cloud


@pytest.fixture(scope="session")
def cloud(tmp_path_factory):
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    yield cloud
    cloud.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows what the functions said last."""
    report = yield
    if report.failed and (cloud := item.funcargs.get("cloud")):
        for group in cloud.logs.describe_log_groups()["logGroups"]:
            events = cloud.logs.filter_log_events(logGroupName=group["logGroupName"])["events"]
            last = [event["message"].rstrip()[:600] for event in events[-40:]]
            report.sections.append((group["logGroupName"], "\n".join(last)))
    return report
