"""The ledger of ../ledger in Python: it records some transfers, made up from their numbers, in a log in `/log`.

Each can go on with the log and the snapshots of the other, and prints the same.
"""

import json

from log import Log
from wit_world import exports
from wit_world.imports import snapshot_store

ACCOUNTS = ("cash", "rent", "sales", "stock", "wages")
SEED = 7
COUNT = 7
SNAPSHOT_EVERY = 10
BITS = 2**64 - 1


class Run(exports.Run):
    """The export wasi:cli/run."""

    def run(self) -> None:
        with snapshot_store.open("") as store:
            ledger = Ledger(store)
            for _ in range(COUNT):
                ledger.record(transfer(ledger.log.last + 1))


class Ledger:
    """The accounts as of the log's last record."""

    def __init__(self, store) -> None:
        snapshot = store.restore()
        self.store = store
        self.snapshot = snapshot.seq if snapshot else 0
        self.accounts = json.loads(snapshot.state)["accounts"] if snapshot else {}
        newest = max([snapshot.seq] + [skipped.seq for skipped in snapshot.skipped]) if snapshot else None
        self.log = Log("/log", snapshot and snapshot.seq, newest, self.apply)
        last = self.log.last
        replayed = f"{self.snapshot + 1}..={last}" if last > self.snapshot else "nothing"
        print(f"restored {self.snapshot}, replayed {replayed}")
        totals = ", ".join(f"{account} {holds}" for account, holds in sorted(self.accounts.items()))
        print(f"totals at {last}: {totals}")

    def apply(self, transfer) -> None:
        for account, amount in ((transfer["from"], -transfer["amount"]), (transfer["to"], transfer["amount"])):
            self.accounts[account] = self.accounts.get(account, 0) + amount

    def record(self, transfer) -> None:
        print("recorded", self.log.append(transfer))
        self.apply(transfer)
        if self.log.last - self.snapshot >= SNAPSHOT_EVERY:
            self.log.begin_segment()
            self.store.create(json.dumps({"accounts": self.accounts}), self.log.last)
            self.snapshot = self.log.last
            self.log.remove_up_to(self.store.oldest_kept())
            print("snapshot", self.snapshot)


def transfer(number: int) -> dict:
    random = scrambled(SEED ^ scrambled(number))
    giver = random % 5
    taker = (giver + 1 + random // 5 % 4) % 5
    return {"from": ACCOUNTS[giver], "to": ACCOUNTS[taker], "amount": (random >> 32) % 1000 + 1}


def scrambled(number: int) -> int:
    number = (number + 0x9E37_79B9_7F4A_7C15) & BITS
    number = ((number ^ (number >> 30)) * 0xBF58_476D_1CE4_E5B9) & BITS
    number = ((number ^ (number >> 27)) * 0x94D0_49BB_1331_11EB) & BITS
    return number ^ (number >> 31)
