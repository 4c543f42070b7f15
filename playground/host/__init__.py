"""The worker process: user code runs here, on the main thread's loop, while a second thread talks to the world.

Nothing in here may be imported late: once user code is loaded, `import playground` may mean the user's own package.
"""

from __future__ import annotations
