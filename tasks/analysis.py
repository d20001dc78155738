"""The analyses as tasks: `celery -A tasks call tasks.analysis.vwap --args='["KRW-BTC","15m"]'`.

A caller's mistake is answered instead of failing the task (`collector.analyses.refusal`).
`python -m tasks.analysis` prints `docs/analyses.md`.
"""

from collections.abc import Callable
from functools import wraps

from collector.analyses.catalog import ANALYSIS_BY_NAME, Answer, reference
from collector.analyses.refusal import MISTAKES, refusal
from collector.routing import ANALYSES
from tasks.app import app


def _answering(run: Callable[..., Answer]) -> Callable[..., Answer]:
    """Return the body of a task: `run`, but the caller's mistakes are answered."""

    @wraps(run)
    def answer(*arguments: object, **named: object) -> Answer:
        try:
            return run(*arguments, **named)
        except MISTAKES as error:
            return dict(refusal(error))

    return answer


for _name, _analysis in ANALYSIS_BY_NAME.items():
    app.task(name=ANALYSES + _name, ignore_result=False)(_answering(_analysis.run))

if __name__ == "__main__":
    print(reference(), end="")
