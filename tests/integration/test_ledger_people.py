"""Patients, doctors, permissions and queries on a chain of real nodes, and what a role may submit: bodies
built by tests/harness/ledger.py from docs/formats.md, receipts proven to the genesis."""
import os

import pytest

from tests.harness.ledger import (Chain, Leaf, Refused, Signer, operation, permission_body,
                                  person_body, query_body, reference, transaction_id)
from tests.integration.test_ledger_members import QUICK, Members

PERSON, PERMISSION, QUERY = 7, 8, 9
DONE, VERSION, OWNER, OPERATION, REFERENCE, NOT_PERMITTED = 0, 1, 3, 4, 11, 12


def test_people_are_registered_permit_and_are_looked_at_by_reference_alone():
    with Chain(1, submitters=2) as chain:
        chain.start()
        east, west = chain.signers
        client = chain.nodes[0].client()
        patient, doctor, name = os.urandom(32), os.urandom(32), os.urandom(16)
        said = [os.urandom(32) for _ in range(2)]

        def submit(signer, kind, body):
            receipt = client.submit(signer.transaction(kind, body))
            assert client.next_sequence(signer.public) == signer.sequence # a failed one counts, too
            return receipt["status"]

        def ask(signer, counter, permission=name):
            return submit(signer, QUERY, query_body(reference(patient, counter), said[0],
                                                    permission=permission))

        assert submit(east, PERSON, person_body(1, 1, 1, reference(patient, 0), *said)) == DONE
        assert submit(west, PERSON, person_body(2, 1, 1, reference(doctor, 0), *said)) == DONE
        assert submit(east, PERSON, person_body(2, 2, 2, reference(doctor, 0), *said)) == OWNER
        assert submit(west, PERSON, person_body(2, 2, 3, reference(doctor, 0), *said)) == VERSION
        assert submit(west, PERSON, person_body(2, 2, 2, reference(doctor, 0), *said)) == DONE
        assert submit(west, PERSON, person_body(2, 3, 3, reference(doctor, 0))) == DONE
        assert submit(west, PERSON, person_body(2, 2, 4, reference(doctor, 0), *said)) == OPERATION

        assert ask(west, 9) == NOT_PERMITTED # before there is one
        grant = permission_body(1, name, 1, reference(patient, 1), said[1],
                                doctor=reference(doctor, 1), grantee=west.public)
        assert submit(east, PERMISSION, grant) == DONE
        assert submit(east, PERMISSION, grant) == VERSION
        assert ask(west, 2) == DONE
        assert ask(west, 2) == REFERENCE # two with one would tell that they are about one person
        assert ask(east, 3) == DONE
        assert submit(east, PERMISSION,
                      permission_body(2, name, 2, reference(patient, 4), said[1])) == DONE
        assert ask(west, 5) == NOT_PERMITTED
        assert ask(west, 5, bytes(16)) == DONE # its own patient

        with pytest.raises(Refused) as refused:
            submit(east, PERSON, person_body(3, 1, 1, reference(patient, 6), *said))
        assert refused.value.message == "person: its kind is neither patient nor doctor"
        east.sequence -= 1

        # All of it stands after a kill: the state is made of the blocks again.
        chain.nodes[0].kill()
        chain.nodes[0].start()
        client = chain.nodes[0].client()
        assert ask(west, 2, bytes(16)) == REFERENCE
        assert ask(west, 7) == NOT_PERMITTED
        transaction = east.anchor([Leaf()])
        first = client.submit(transaction)
        assert first["status"] == DONE and client.submit(transaction) == first
        assert client.call(7, transaction_id(transaction)).bytes() == transaction


def test_an_auditor_asks_and_reports_and_a_key_that_became_one_anchors_no_more():
    """The role holds from the epoch on that gave it, at every node, also for what was signed before."""
    with Chain(4, **QUICK) as chain:
        chain.start()
        members = Members(chain)
        client = chain.nodes[1].client()
        signer = chain.signers[0]
        assert client.submit(signer.anchor([Leaf()]))["status"] == DONE
        auditor = Signer(chain.id)
        assert members.change(operation("add-submitter", "audit", auditor.public, role=3))["status"] == DONE
        members.wait_epoch(1)
        assert client.submit(auditor.transaction(QUERY, query_body(
            os.urandom(32), os.urandom(32))))["status"] == DONE
        for node in chain.nodes:
            with pytest.raises(Refused) as refused:
                node.client().submit(auditor.anchor([Leaf()], sequence=2))
            assert refused.value.name == "transaction-rejected"
            assert refused.value.message == ("transaction: audit has the role auditor, which may not "
                                             "submit the type anchor: that needs gateway")
        assert members.change(operation("remove-submitter", "submitter-0"),
                              operation("add-submitter", "east", signer.public, role=3))["status"] == DONE
        members.wait_epoch(2)
        client = chain.nodes[2].client()
        with pytest.raises(Refused) as refused:
            client.submit(signer.anchor([Leaf()], sequence=2))
        assert "east has the role auditor" in refused.value.message
        assert client.submit(signer.note(b"still here", sequence=2))["status"] == DONE
