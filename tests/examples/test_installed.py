"""The examples, built as an outside project would from what `cmake --install` puts there."""

import os
import tempfile
from pathlib import Path

from case import main
from local_case import BUILD
from programs import EXAMPLES, Cases, Programs, run


class Installed(Cases, Programs):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        place = tempfile.TemporaryDirectory(prefix="examples-", dir=BUILD)
        cls.addClassCleanup(place.cleanup)
        cls.prefix, build = Path(place.name) / "prefix", Path(place.name) / "build"
        for component in ("core", "local"):
            run("cmake", "--install", BUILD, "--component", component, "--prefix", cls.prefix)
        run("cmake", "-G", "Ninja", "-S", EXAMPLES, "-B", build, f"-DCMAKE_PREFIX_PATH={cls.prefix}")
        run("cmake", "--build", build)
        cls.PROGRAMS = build / "examples"
        cls.ENVIRONMENT = {"PYTHONPATH": str(cls.file("millrace_local.py").parent),
                           "LIBMILLRACE_LOCAL": str(cls.file("libmillrace-local.so.0"))}

    @classmethod
    def file(cls, name):
        [found] = [path for path in cls.prefix.rglob("*") if path.name == name]
        return found

    def test_a_reader_is_short(self):
        for name in ("reader.cpp", "reader.c", "reader.py"):
            text = (EXAMPLES / "local" / name).read_text()
            code = [line for line in text.splitlines() if line.strip() and not line.startswith(("//", "/*", '"""'))]
            self.assertLessEqual(len(code), 15, name)

    def test_the_c_reader_through_pkg_config(self):
        flags = run("pkg-config", "--cflags", "--libs", "millrace-local",
                    env={**os.environ, "PKG_CONFIG_PATH": str(self.file("millrace-local.pc").parent)})
        program = f"{self.folder.name}/reader"
        run("cc", "-Wall", "-Wextra", "-Werror", EXAMPLES / "local" / "reader.c", "-o", program, *flags.split())
        self.ENVIRONMENT = {"LD_LIBRARY_PATH": str(self.file("libmillrace-local.so").parent)}
        self.reads(program)


if __name__ == "__main__":
    main()
