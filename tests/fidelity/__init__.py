"""Every kind of entry and every kind of change: undo gives the very tree back, and redo the changed one."""
