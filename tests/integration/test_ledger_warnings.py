"""What an operator is told before it stops a node: certificates that end, clocks that are off, disks
that fill up. In the log once, in the status as long as it lasts."""
import json
import os
import subprocess

import pytest

from tests.harness.ledger import BUILD, NODE, Chain, wait_until

TROUBLE = {"LD_PRELOAD": str(BUILD / "tests" / "harness" / "trouble.so")}


def trouble(**what):
    """The environment of a node in trouble; the address sanitizer accepts the preloaded library."""
    options = os.environ.get("ASAN_OPTIONS", "")
    return {**TROUBLE, **what, "ASAN_OPTIONS": f"{options}:verify_asan_link_order=0"}


def events(node, *names):
    lines = node.log_text().splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [event for event in found if event["event"] in names]


def warnings(node):
    client = node.client()
    status = client.status()
    client.close()
    return [w["text"] for w in status["warnings"]]


@pytest.mark.parametrize("days, told", [(31.5, None), (29.5, "29"), (6.5, "6"), (0.5, "0")])
def test_a_certificate_that_ends_is_told_30_7_and_1_days_ahead(days, told):
    with Chain(1, certificate_days=days) as chain:
        chain.start()
        node = chain.nodes[0]
        wait_until(lambda: node.client().status()["certificate_end"] > "2000", 10, "a look at it")
        found = events(node, "certificate-ends", "certificate-ended")
        if told is None:
            assert found == [] and warnings(node) == []
            return
        assert [(e["event"], e["days_left"], e["level"]) for e in found] == \
            [("certificate-ends", told, "warning")]
        assert warnings(node) == [f"the TLS certificate ends at {found[0]['end']}"]


def test_a_certificate_that_has_ended_is_an_error():
    with Chain(1, certificate_days=-0.01) as chain:
        chain.start()
        node = chain.nodes[0]
        wait_until(lambda: events(node, "certificate-ended"), 10, "the error")
        assert events(node, "certificate-ended")[0]["level"] == "error"
        assert "renkei_node_certificate_left_seconds 0\n" in node.client().metrics()


@pytest.mark.parametrize("skew_ms, word", [(6000, "ahead"), (-7000, "behind")])
def test_a_clock_that_is_off_is_named_while_the_chain_still_goes_on(skew_ms, word):
    """More than half of what a proposal may be off by; beyond the whole, its blocks are refused."""
    with Chain(4, clock_drift_ms_max=10000) as chain:
        chain.nodes[2].start(wait=False, **trouble(RENKEI_SKEW_MS=str(skew_ms)))
        for i in (0, 1, 3):
            chain.nodes[i].start(wait=False)
        for node in chain.nodes:
            wait_until(node.ready, 30, "socket")
            wait_until(lambda n=node: events(n, "clock-skew"), 40, f"{node.index} sees the skew")
        for node in chain.nodes:
            found = events(node, "clock-skew")
            assert [e["validator"] for e in found] == ["node-2"], node.index
            assert abs(int(found[0][f"{word}_ms"]) - abs(skew_ms)) < 1000
            assert found[0]["refused_beyond_ms"] == "10000"
            assert len(warnings(node)) == 1
            assert warnings(node)[0].startswith("the clock of node-2 is ")
        assert chain.nodes[0].client().submit(chain.signers[0].note(b"goes on"))["status"] == 0
        text = subprocess.run([NODE, "status", "--config", chain.nodes[2].config],
                              stdout=subprocess.PIPE, check=True).stdout.decode()
        assert "WARNING            the clock of node-2 is " in text


def test_a_disk_that_fills_up_is_told():
    with Chain(1) as chain:
        node = chain.nodes[0]
        node.start(**trouble(RENKEI_DISK_FREE_MIB="3000"))
        wait_until(lambda: events(node, "disk-low"), 10, "the warning")
        assert events(node, "disk-low")[0]["free_mib"] == "3000"
        assert warnings(node) == ["the disk of the data folder has 3000 MiB free"]
        assert f"renkei_node_disk_free_bytes {3000 << 20}\n" in node.client().metrics()
    with Chain(1) as chain:
        chain.nodes[0].start(**trouble(RENKEI_DISK_FREE_MIB="90000"))
        wait_until(lambda: chain.nodes[0].client().status()["disk_free_bytes"] > 0, 10, "a look")
        assert warnings(chain.nodes[0]) == [] and events(chain.nodes[0], "disk-low") == []
