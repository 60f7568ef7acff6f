"""Print the versions of Python and of the packages named, as lines of YAML."""

import platform
import sys
from importlib.metadata import version

print(f"python: {platform.python_version()}")
for name in sys.argv[1:]:
    print(f"{name}: {version(name)}")
