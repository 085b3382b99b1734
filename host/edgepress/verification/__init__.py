"""Is what a board answers right? Reference outputs, golden inputs, and the levels of agreement."""
