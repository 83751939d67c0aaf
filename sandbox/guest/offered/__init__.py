"""On the path of Python in sessions that have tools: `from tools import ...`."""
