"""fairseq before February 2021."""

from tests.peers.fairseq_criterion import peer

PEER = peer("0.10.2", "fairseq_2020")
