"""The examples as the tree builds them."""

from pathlib import Path

from case import main
from local_case import BUILD, ROOT
from programs import Cases, Programs


class InTree(Cases, Programs):
    PROGRAMS = Path(BUILD).resolve() / "examples"
    ENVIRONMENT = {"PYTHONPATH": str(Path(ROOT).resolve() / "core" / "shm" / "python"),
                   "LIBMILLRACE_LOCAL": str(Path(BUILD).resolve() / "lib" / "libmillrace-local.so.0")}


if __name__ == "__main__":
    main()
