"""Many scans: any executor, workers that may die, runs that may be stopped and started again."""

from licp.batch.dispatch import Failure
from licp.batch.many import morph_many
from licp.batch.pool import JobTimeoutError, WorkerPool

__all__ = ["Failure", "JobTimeoutError", "WorkerPool", "morph_many"]
