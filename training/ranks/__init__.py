"""Where a run computes: devices, and several processes that train one model together."""
