"""Exit codes, and the group of commands that ends in them."""

from typing import Any

import click

from licp.errors import InputError, LicpError, OutputError, OverlapError

__all__ = ["EPILOG", "NOT_CONVERGED", "SOME_FAILED", "Group"]

NOT_CONVERGED = 6
SOME_FAILED = 7
INTERRUPTED = 130
EXIT_CODES: tuple[tuple[type[LicpError], int], ...] = (
    (OverlapError, 4),
    (OutputError, 5),
    (InputError, 3),
    (LicpError, 1),
)
EPILOG = """\b
Exit codes:
  0    done
  1    internal error
  2    wrong usage
  3    input that cannot be used: meshes, landmarks, values
  4    template and scan do not overlap
  5    output that cannot be written
  6    done and written, but not converged
  7    batch, evaluate: some scans failed, all others are done
  130  interrupted
"""


class Group(click.Group):
    """Commands whose errors end in one line and a documented exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LicpError as error:
            message = " ".join(str(error).split())
            code = next(code for kind, code in EXIT_CODES if isinstance(error, kind))
        except KeyboardInterrupt:
            message, code = "interrupted", INTERRUPTED
        click.echo(f"licp: error: {message}", err=True)
        ctx.exit(code)
