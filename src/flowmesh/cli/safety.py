"""Options of the commands about who may connect to a server, and what they may do there.

They become environment variables, which the server reads, in this process or in the tasks of a cluster.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from flowmesh.core import limits
from flowmesh.distributed.credentials import FOLDER_VARIABLE, INSECURE_VARIABLE
from flowmesh.distributed.policy import (
    ALLOW_FILES_VARIABLE,
    ALLOW_OPS_VARIABLE,
    DENY_OPS_VARIABLE,
)


def add_safety(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument_group("safety").add_argument
    add("--insecure", action="store_true", help="no TLS, even where other machines can connect")
    add(
        "--allow-files",
        action="append",
        metavar="DIR",
        help="let graphs of other processes touch files in DIR only (repeatable; `none`: no file)",
    )
    add("--deny-ops", metavar="A,B", help="op types that graphs of other processes may not use")
    add("--allow-ops", metavar="A,B", help="allow them PyFunc and the like, which are denied")
    add(
        "--limit",
        action="append",
        type=_limit,
        metavar="NAME=SIZE",
        help="message, graph, tensor, queue in bytes (512M), or nodes; repeatable",
    )


def environment(options: argparse.Namespace) -> dict[str, str]:
    """The variables that say what the options say."""
    found: dict[str, str] = {}
    if options.insecure:
        found[INSECURE_VARIABLE] = "1"
    if options.allow_files:
        folders = [f if f == "none" else os.path.abspath(f) for f in options.allow_files]
        found[ALLOW_FILES_VARIABLE] = os.pathsep.join(folders)
    if options.deny_ops:
        found[DENY_OPS_VARIABLE] = options.deny_ops
    if options.allow_ops:
        found[ALLOW_OPS_VARIABLE] = options.allow_ops
    if options.limit:
        found[limits.VARIABLE] = ",".join(options.limit)
    return found


@contextmanager
def cluster_credentials(insecure: bool) -> Iterator[tuple[dict[str, str], str]]:
    """Credentials for the tasks of a cluster of this machine, in a private folder that is gone afterwards: the variables that
    tell them, and a word on it for the user. Where FLOWMESH_TLS_DIR is set already, it holds."""
    if insecure:
        yield {FOLDER_VARIABLE: "off"}, "no TLS"
        return
    if FOLDER_VARIABLE in os.environ:
        yield {}, f"{FOLDER_VARIABLE}={os.environ[FOLDER_VARIABLE]}"
        return
    from flowmesh.distributed import certificates  # not before it is needed

    try:
        made, word = certificates.for_this_machine(), "TLS"
    except ImportError:
        made, word = certificates.token_only(), "token only, `pip install cryptography` gives TLS"
    folder = tempfile.mkdtemp(prefix="flowmesh-")  # only this user can enter it
    try:
        made.save(folder)
        yield {FOLDER_VARIABLE: folder}, f"{word}; clients: export {FOLDER_VARIABLE}={folder}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _limit(text: str) -> str:
    try:
        limits.Limits.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
