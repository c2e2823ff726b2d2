"""``flowmesh certs``: credentials for a cluster of several machines."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flowmesh.core import errors
from flowmesh.distributed.credentials import (
    AUTHORITY_FILE,
    FOLDER_VARIABLE,
    TOKEN_FILE,
    write_private,
)

AUTHORITY_KEY_FILE = "ca.key"
_AUTHORITY = "authority"


def main(argv: Sequence[str]) -> int:
    """Make a folder for each host, and say what to do with them."""
    options = _parser().parse_args(argv)
    from flowmesh.distributed.certificates import Authority

    out: Path = options.out
    home = out / _AUTHORITY
    try:
        if home.exists():
            authority = Authority.load(
                (home / AUTHORITY_FILE).read_bytes(),
                (home / AUTHORITY_KEY_FILE).read_bytes(),
                (home / TOKEN_FILE).read_text().strip(),
            )
            print(f"Using the authority in {home}.")
        else:
            authority = Authority.create(options.days)
            home.mkdir(mode=0o700, parents=True)
            write_private(home / AUTHORITY_FILE, authority.certificate_pem)
            write_private(home / AUTHORITY_KEY_FILE, authority.key_pem)
            write_private(home / TOKEN_FILE, f"{authority.token}\n".encode())
        folders = []
        for host in options.hosts:
            names = [name for name in host.split(",") if name]
            folder = out / _folder_name(names)
            authority.issue(names, options.days).save(folder)
            folders.append((folder, names))
    except ImportError:
        return _complain("certificates need the package `cryptography`: pip install cryptography")
    except (OSError, ValueError, IndexError, UnicodeError, errors.OpError) as error:
        return _complain(str(error))
    _explain(home, folders)
    return 0


def _folder_name(names: Sequence[str]) -> str:
    name = names[0].replace(":", "_")
    if os.sep in name or name in (".", "..", _AUTHORITY):
        raise ValueError(f"{names[0]!r} is no host name")
    return name


def _explain(home: Path, folders: Sequence[tuple[Path, Sequence[str]]]) -> None:
    print("""
1. Copy each folder to its machine, and nowhere else; keep it readable for you alone:""")
    for folder, names in folders:
        print(f"     scp -pr {folder} {names[0]}:flowmesh-tls    # valid for {', '.join(names)}")
    print(f"""
2. On every machine, before any task or client starts:
     export {FOLDER_VARIABLE}=$HOME/flowmesh-tls

3. Keep {home} to yourself: who has its key can let anybody into the cluster. Run `flowmesh certs` with the same --out to
   add machines; delete the folder when there will be no more.""")


def _complain(text: str) -> int:
    print(f"flowmesh certs: {text}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowmesh certs",
        description="Make the credentials of a cluster: one certificate authority, and for each HOST a folder with a "
        "certificate, a key and the cluster's token, for the environment variable FLOWMESH_TLS_DIR.",
        epilog="example: flowmesh certs --out tls ps0.example.com,10.0.0.5 worker0.example.com laptop",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "hosts",
        nargs="+",
        metavar="HOST[,NAME...]",
        help="a machine, with all names and addresses under which the cluster specification and clients know it",
    )
    add("--out", type=Path, default=Path("flowmesh-certs"), metavar="DIR", help="where to put them")
    add("--days", type=int, default=365, metavar="N", help="how long they are valid (default 365)")
    return parser
