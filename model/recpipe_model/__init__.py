"""Everything learned: the online hybrid, its export, its server and its client."""
