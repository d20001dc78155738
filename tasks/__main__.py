"""Celery's command line with these tasks, whatever lies in the working folder.

    python -P -m tasks celery -A tasks worker -Q trade

`celery -A tasks` puts the working folder first on the path, and many a folder has a `tasks.py` of its own.
`-P` (or PYTHONSAFEPATH) keeps it off the path while this package is imported; Celery finds that one then.
"""

import sys

from celery.__main__ import main

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    main()
