import os
import sys

import wheel

print(f"wheel {wheel.__version__} of {os.path.dirname(wheel.__file__)}, as {os.getuid()} in {os.getcwd()}, "
      f"{sys.flags.dont_write_bytecode} {sys.stdout.encoding}")
