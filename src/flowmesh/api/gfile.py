"""Files: the names of `tf.gfile`, and the newer ones of `tf.io.gfile`."""

from __future__ import annotations

from flowmesh.core.platform.gfile import (
    Copy as Copy,
    DeleteRecursively as DeleteRecursively,
    Exists as Exists,
    FastGFile as FastGFile,
    GFile as GFile,
    Glob as Glob,
    IsDirectory as IsDirectory,
    ListDirectory as ListDirectory,
    MakeDirs as MakeDirs,
    MkDir as MkDir,
    Open as Open,
    Remove as Remove,
    Rename as Rename,
    Stat as Stat,
    Walk as Walk,
    copy as copy,
    exists as exists,
    glob as glob,
    listdir as listdir,
    makedirs as makedirs,
    mkdir as mkdir,
    remove as remove,
    rename as rename,
    rmtree as rmtree,
    stat as stat,
    walk as walk,
)
