"""For the tests of every target: a target's tests stand together, so that its server is started once, and
what was not applicable is said at the end of every run, with the reason."""

import pytest

from tests.conformance.targets import NOT_APPLICABLE, TARGETS


def target_of(item):
    found = getattr(getattr(item, "callspec", None), "params", {}).get("target")
    return TARGETS.index(found) if found in TARGETS else -1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """pytest itself groups them by the target's place in each test's own list of targets."""
    places = [i for i, item in enumerate(items) if target_of(item) >= 0]
    found = sorted((items[i] for i in places), key=target_of)
    for i, item in zip(places, found):
        items[i] = item


def pytest_terminal_summary(terminalreporter):
    if not NOT_APPLICABLE:
        return
    terminalreporter.section("not applicable")
    for (target, test), reasons in sorted(NOT_APPLICABLE.items()):
        terminalreporter.write_line(f"{target}: {test}: {'; '.join(sorted(reasons))}")
