"""The Model Context Protocol, spoken here and nowhere else: servers whose tools code inside may call (`servers.py`,
`schema.py`), and Mulligan as a server (`serving.py`). The SDK is an extra: pip install 'mulligan[mcp]'.
"""
