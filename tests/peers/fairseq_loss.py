"""fairseq since February 2021."""

from tests.peers.fairseq_criterion import peer

PEER = peer("0.12.2", "fairseq")
