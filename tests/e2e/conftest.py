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
        tail = (cloud.home / "ministack.log").read_text(errors="replace").splitlines()[-60:]
        report.sections.append(("the local AWS and the functions on it", "\n".join(line[:500] for line in tail)))
    return report
