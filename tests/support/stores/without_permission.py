"""``python -m tests.support.stores.without_permission URL``: use a store that this process may not open.

Prints what came of it, as JSON. Run by root it goes on as ``nobody`` once all is imported, since that user
may not be able to read the interpreter.
"""

import json
import os
import sys
import tempfile

from tests.support.stores.project import Project, warnings_of_ours

NOBODY = 65534


def main(url):
    with tempfile.TemporaryDirectory() as folder:
        warm_up = Project(f"disk://{folder}/store")
        # Imports whatever is imported late.
        assert warm_up.publishes(1)
        assert warm_up.shares(2)
        warm_up.close()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    project = Project(url)
    with warnings_of_ours() as warned:
        outcome = {
            "published": project.publishes(21),
            "values": [project.run(21), project.run(21)],
            "runs": project.runs,
        }
    print(json.dumps({**outcome, "warnings": warned, "uid": os.geteuid()}))


if __name__ == "__main__":
    main(sys.argv[1])
