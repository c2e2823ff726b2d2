# ruff: noqa  (programs for Python 3.7 and TensorFlow 1.15, whose style they keep)
"""Programs about flags, files and logging; they build no graph."""

import logging
import os
import shutil
import sys
import tempfile


def _flags(tf, argv, err):
    """The flags as parsed from a command line, in a registry of its own."""
    flags = tf.app.flags
    names = ["zz_name", "zz_count", "zz_rate", "zz_on", "zz_off", "zz_list", "zz_kind"]
    flags.DEFINE_string("zz_name", "default", "a name")
    flags.DEFINE_integer("zz_count", 3, "a count")
    flags.DEFINE_float("zz_rate", 0.5, "a rate")
    flags.DEFINE_boolean("zz_on", True, "on")
    flags.DEFINE_bool("zz_off", False, "off")
    flags.DEFINE_list("zz_list", ["a"], "list")
    flags.DEFINE_enum("zz_kind", "x", ["x", "y"], "kind")
    values = tf.app.flags.FLAGS
    try:
        rest = values(["program"] + argv)
        return [{n: getattr(values, n) for n in names}, rest]
    except SystemExit as error:
        return ["exit", error.code]
    finally:
        for name in names:
            delattr(values, name)
        values.unparse_flags() if hasattr(values, "unparse_flags") else None


def flag_forms(tf, err):
    lines = [
        [], ["--zz_name=x"], ["-zz_name=x"], ["--zz_name", "x"], ["-zz_name", "x"], ["--zz_count=7", "--zz_rate", "2"], ["--zz_on=false", "--zz_off=true"], ["--nozz_on", "--zz_off"], ["-nozz_on"],
        ["--zz_on=0", "--zz_off=1"], ["--zz_list=a,b"], ["--zz_list="], ["--zz_kind=y"], ["rest", "--zz_name=x", "more"], ["--zz_name=x", "--", "--zz_count=9"], ["--zz_name="], ["--zz_name=a=b"], ["--zz_count=-4"], ["--zz_rate=1e-3"],
        ["--zz_name=x", "--zz_name=y"],
    ]  # fmt: skip
    return [err(lambda: _flags(tf, line, err)) for line in lines]


def flag_errors(tf, err):
    lines = [
        ["--zz_count=x"],
        ["--zz_rate=x"],
        ["--zz_kind=z"],
        ["--zz_on=maybe"],
        ["--nothing_such=1"],
        ["--zz_name"],
    ]

    def run(line):
        try:
            return _flags(tf, line, err)[:1]
        except Exception as error:
            return type(error).__name__

    saved, sys.stderr = sys.stderr, open(os.devnull, "w")
    try:
        found = [run(line) for line in lines]
    finally:
        sys.stderr.close()
        sys.stderr = saved
    return ["refused" if isinstance(f, str) or f == ["exit"] else f for f in found]


def flag_definitions_only_values(tf, err):
    flags = tf.app.flags
    flags.DEFINE_string(
        "zz_old", default_value="d", docstring="h"
    ) if False else flags.DEFINE_string("zz_old", "d", "h")
    values = flags.FLAGS
    values(["program", "--zz_old=v"])
    out = [
        "zz_old" in values,
        values.zz_old,
        values["zz_old"].value,
        values["zz_old"].default,
        values["zz_old"].help,
    ]
    values.zz_old = "changed"
    out += [values.zz_old, "zz_old" in values.flag_values_dict()]
    del values.zz_old
    return out + ["zz_old" in values]


def files(tf, err):
    root = tempfile.mkdtemp()
    path = lambda *p: os.path.join(root, *p)
    g = tf.gfile
    hide = lambda text: text.replace(root, "ROOT")
    try:
        out = []
        with g.GFile(path("a.txt"), "w") as f:
            f.write("one\ntwo\n")
            f.write("\u00e9")
        with g.GFile(path("a.txt")) as f:
            out += [f.read(3), f.tell(), f.read(), f.size(), hide(f.name), f.mode]
        with g.GFile(path("a.txt"), "rb") as f:
            out += [f.readline(), f.read()]
        with g.GFile(path("a.txt"), "a") as f:
            f.write("\nlast")
        with g.GFile(path("a.txt")) as f:
            out += [f.readlines()]
        with g.GFile(path("a.txt")) as f:
            out += [[line for line in f]]
            f.seek(4)
            out += [f.read(3)]
        g.MkDir(path("d"))
        g.MakeDirs(path("d", "e", "f"))
        g.MakeDirs(path("d", "e", "f"))
        g.Copy(path("a.txt"), path("d", "b.txt"))
        g.Copy(path("a.txt"), path("d", "b.txt"), overwrite=True)
        g.Rename(path("d", "b.txt"), path("d", "c.txt"))
        out += [
            sorted(g.ListDirectory(path("d"))),
            sorted(hide(p) for p in g.Glob(path("*.txt"))),
            sorted(hide(p) for p in g.Glob([path("d", "*"), path("*.txt")])),
        ]
        out += [
            g.Exists(path("a.txt")),
            g.Exists(path("no")),
            g.IsDirectory(path("d")),
            g.IsDirectory(path("a.txt")),
            g.Stat(path("a.txt")).length,
        ]
        out += [[(hide(d), sorted(ds), sorted(fs)) for d, ds, fs in g.Walk(root)]]
        g.Remove(path("d", "c.txt"))
        g.DeleteRecursively(path("d"))
        return out + [sorted(g.ListDirectory(root))]
    finally:
        shutil.rmtree(root)


def file_errors(tf, err):
    root = tempfile.mkdtemp()
    path = lambda *p: os.path.join(root, *p)
    g = tf.gfile
    with open(path("a"), "w") as f:
        f.write("x")
    os.mkdir(path("d"))
    os.mkdir(path("full"))
    with open(path("full", "x"), "w") as f:
        f.write("x")
    tests = [
        lambda: g.GFile(path("no")).read(), lambda: g.GFile(path("no", "x"), "w").write("a"), lambda: g.GFile(path("d")).read(), lambda: g.GFile(path("a"), "q"), lambda: g.GFile(path("a"), "r").write("x"),
        lambda: g.GFile(path("b"), "w").read(), lambda: g.Remove(path("no")), lambda: g.Remove(path("d")), lambda: g.MkDir(path("d")), lambda: g.MkDir(path("no", "x")), lambda: g.MakeDirs(path("a", "x")), lambda: g.ListDirectory(path("no")), lambda: g.ListDirectory(path("a")),
        lambda: g.Copy(path("no"), path("z")), lambda: g.Copy(path("a"), path("full", "x")), lambda: g.Rename(path("no"), path("z")), lambda: g.Rename(path("a"), path("full", "x")), lambda: g.Stat(path("no")), lambda: g.DeleteRecursively(path("no")), lambda: g.Glob(path("no", "*")), lambda: [str(x) for x in g.Walk(path("no"))],
    ]  # fmt: skip
    try:
        found = [err(t) for t in tests]
    finally:
        shutil.rmtree(root)
    return [
        {k: v.replace(root, "ROOT").split("; ")[-1] for k, v in f.items()}
        if isinstance(f, dict)
        else f
        for f in found
    ]


def logs(tf, err):
    class Keep(logging.Handler):
        def __init__(self):
            logging.Handler.__init__(self)
            self.lines = []

        def emit(self, record):
            self.lines.append([record.name, record.levelname, record.getMessage()])

    logger = logging.getLogger("tensorflow")
    keep = Keep()
    logger.addHandler(keep)
    level = tf.logging.get_verbosity()
    disabled, logger.disabled = logger.disabled, False
    others = [h for h in logger.handlers if h is not keep]
    for h in others:
        logger.removeHandler(h)
    try:
        tf.logging.set_verbosity(tf.logging.INFO)
        tf.logging.info("info %d", 1)
        tf.logging.debug("debug")
        tf.logging.warn("warn")
        tf.logging.warning("warning %s", "x")
        tf.logging.error("error")
        tf.logging.fatal("fatal")
        tf.logging.log(tf.logging.WARN, "log")
        tf.logging.vlog(tf.logging.DEBUG, "vlog")
        for i in range(5):
            tf.logging.log_if(tf.logging.INFO, "if", i == 3)
        tf.logging.set_verbosity(tf.logging.ERROR)
        tf.logging.info("not shown")
        out = [
            [line for line in keep.lines if "deprecated" not in line[2]],
            tf.logging.get_verbosity(),
            [
                tf.logging.DEBUG,
                tf.logging.INFO,
                tf.logging.WARN,
                tf.logging.ERROR,
                tf.logging.FATAL,
            ],
        ]
        return out
    finally:
        logger.removeHandler(keep)
        for h in others:
            logger.addHandler(h)
        logger.disabled = disabled
        tf.logging.set_verbosity(level)


def app_runs(tf, err):
    seen = []

    def main(argv):
        seen.append(len(argv))
        return 3

    def run(**kwargs):
        try:
            tf.app.run(**kwargs)
        except SystemExit as error:
            return error.code

    return [
        run(main=main, argv=["program", "a"]),
        seen,
        run(main=lambda argv: None, argv=["program"]),
    ]
