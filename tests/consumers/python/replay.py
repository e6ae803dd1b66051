"""Opens logs, and prints of each, as a line of JSON, what it holds, or why it does not open. Appends to those that do.

On standard input is a line for each: its directory, and the number of its snapshot, if there is one.
"""

import json
import sys

from log import Log, LogError

for line in sys.stdin:
    path, *snapshot = line.split()
    newest = int(snapshot[0]) if snapshot else None
    operations: list = []
    try:
        log = Log(path, newest, newest, operations.append)
        print(json.dumps({"last": log.last, "operations": operations}))
        log.append("after")
    except LogError as error:
        print(json.dumps({"error": str(error)}))
