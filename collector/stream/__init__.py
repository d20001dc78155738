"""Pure work on events: sequencing, merging, batching and the policy of pressure. No I/O."""
