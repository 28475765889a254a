"""What was not applicable to which target is said at the end of every run, with the reason."""

from tests.conformance.targets import NOT_APPLICABLE


def pytest_terminal_summary(terminalreporter):
    if not NOT_APPLICABLE:
        return
    terminalreporter.section("not applicable")
    for (target, test), reasons in sorted(NOT_APPLICABLE.items()):
        terminalreporter.write_line(f"{target}: {test}: {'; '.join(sorted(reasons))}")
